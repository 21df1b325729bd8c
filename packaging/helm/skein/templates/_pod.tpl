{{/* The server's pod: containers, volumes, and what is mounted where. */}}

{{/* -> JSON { secrets: [{ name, secretName, dir }] } */}}
{{- define "skein.secrets" -}}
{{- $secrets := list -}}
{{- with .Values.config.nats.tls -}}
{{- if and .enabled .secretName }}{{ $secrets = append $secrets (dict "name" "nats-tls" "secretName" .secretName "dir" .dir) }}{{ end -}}
{{- end -}}
{{- dict "secrets" $secrets | toJson -}}
{{- end -}}

{{- define "skein.caMounted" -}}
{{- with .Values.tlsCA }}{{ if and .enabled (or .configMapName .secretName) }}yes{{ end }}{{ end -}}
{{- end -}}

{{- define "skein.caVolume" -}}
{{- if include "skein.caMounted" . }}
- name: tls-ca
  {{- with .Values.tlsCA }}
  {{- if .configMapName }}
  configMap: { name: {{ .configMapName | quote }} }
  {{- else }}
  secret: { secretName: {{ .secretName | quote }} }
  {{- end }}
  {{- end }}
{{- end }}
{{- end -}}

{{- define "skein.caMount" -}}
{{- if include "skein.caMounted" . }}
- name: tls-ca
  mountPath: {{ .Values.tlsCA.dir | quote }}
{{- end }}
{{- end -}}

{{/* A probe of /healthz. { path, period, failures, ctx } */}}
{{- define "skein.probe" -}}
httpGet:
  path: {{ .path | quote }}
  port: monitor
  {{- if .ctx.Values.config.monitor.tls.enabled }}
  scheme: HTTPS
  {{- end }}
timeoutSeconds: 5
periodSeconds: {{ .period }}
failureThreshold: {{ .failures }}
{{- end -}}

{{- define "skein.container" -}}
{{- $ := . -}}
{{- $config := .Values.config -}}
name: nats
{{ include "skein.image" (dict "image" .Values.container.image "ctx" .) }}
args:
- --config
- /etc/nats-config/nats.conf
{{- with .Values.container.shards }}
- --shards
- {{ . | quote }}
{{- end }}
{{- range .Values.container.args }}
- {{ . | quote }}
{{- end }}
env:
- name: POD_NAME
  valueFrom: { fieldRef: { fieldPath: metadata.name } }
- name: SERVER_NAME
  value: {{ printf "%s$(POD_NAME)" $config.serverNamePrefix | quote }}
{{- include "skein.env" .Values.container.env }}
ports:
- {{ merge (dict "name" "nats" "containerPort" $config.nats.port) .Values.container.ports.nats | toJson }}
{{- if $config.monitor.enabled }}
- {{ merge (dict "name" "monitor" "containerPort" $config.monitor.port) .Values.container.ports.monitor | toJson }}
{{- end }}
lifecycle:
  preStop:
    exec:
      # Lame duck: no new clients, and those that are here move off over lame_duck_duration. SIGTERM comes after it.
      command: [/usr/local/bin/skein, --signal, ldm=/var/run/nats/nats.pid]
{{- if $config.monitor.enabled }}
# A store is read before clients are let in: a quarter of an hour for that.
startupProbe:
  {{- include "skein.probe" (dict "path" "/healthz" "period" 5 "failures" 180 "ctx" .) | nindent 2 }}
readinessProbe:
  {{- include "skein.probe" (dict "path" "/healthz?js-server-only=true" "period" 10 "failures" 3 "ctx" .) | nindent 2 }}
livenessProbe:
  {{- include "skein.probe" (dict "path" "/healthz?js-enabled-only=true" "period" 30 "failures" 3 "ctx" .) | nindent 2 }}
{{- end }}
securityContext:
  allowPrivilegeEscalation: false
  readOnlyRootFilesystem: true
  capabilities: { drop: [ALL] }
  seccompProfile:
    {{- toYaml .Values.container.seccompProfile | nindent 4 }}
volumeMounts:
- name: config
  mountPath: /etc/nats-config
- name: pid
  mountPath: /var/run/nats
{{- with $config.jetstream }}
{{- if and .enabled .fileStore.enabled }}
- name: {{ ternary (include "skein.named" (dict "of" .fileStore.pvc "suffix" "-js" "ctx" $)) "js" .fileStore.pvc.enabled | quote }}
  mountPath: {{ .fileStore.dir | quote }}
{{- end }}
{{- end }}
{{- with $config.resolver }}
{{- if .enabled }}
- name: {{ ternary (include "skein.named" (dict "of" .pvc "suffix" "-resolver" "ctx" $)) "resolver" .pvc.enabled | quote }}
  mountPath: {{ .dir | quote }}
{{- end }}
{{- end }}
{{- include "skein.caMount" . }}
{{- range (include "skein.secrets" . | fromJson).secrets }}
- name: {{ .name | quote }}
  mountPath: {{ .dir | quote }}
{{- end }}
resources:
  {{- toYaml .Values.container.resources | nindent 2 }}
{{- end -}}

{{/* Files that the configuration names, for the reloader to watch. { node, dir } */}}
{{- define "skein.watched" -}}
{{- $dir := .dir -}}
{{- if kindIs "map" .node -}}
{{- range $name, $value := .node }}
{{- if has $name (list "cert_file" "key_file" "ca_file") }}
- -config
- {{ $value | quote }}
{{- else if hasSuffix "$include" $name }}
- -config
- {{ printf "%s/%s" $dir $value | clean | quote }}
{{- else }}
{{- include "skein.watched" (dict "node" $value "dir" $dir) }}
{{- end }}
{{- end }}
{{- end -}}
{{- end -}}

{{- define "skein.reloader" -}}
{{- $ := . -}}
{{- $server := include "skein.document" (dict "doc" "skein.container" "over" .Values.container "ctx" .) | fromYaml -}}
name: reloader
{{ include "skein.image" (dict "image" .Values.reloader.image "ctx" .) }}
args:
- -pid
- /var/run/nats/nats.pid
- -config
- /etc/nats-config/nats.conf
{{- include "skein.watched" (dict "node" (include "skein.document" (dict "doc" "skein.config" "over" .Values.config "ctx" .) | fromYaml) "dir" "/etc/nats-config") }}
{{- with .Values.reloader.env }}
env:
{{- include "skein.env" . }}
{{- end }}
securityContext:
  allowPrivilegeEscalation: false
  readOnlyRootFilesystem: true
  capabilities: { drop: [ALL] }
  seccompProfile: { type: RuntimeDefault }
volumeMounts:
- name: pid
  mountPath: /var/run/nats
{{- range $mount := $server.volumeMounts }}
{{- $wanted := false }}
{{- range $.Values.reloader.natsVolumeMountPrefixes }}{{ if hasPrefix . $mount.mountPath }}{{ $wanted = true }}{{ end }}{{ end }}
{{- if $wanted }}
- {{ toJson $mount }}
{{- end }}
{{- end }}
{{- end -}}

{{- define "skein.podTemplate" -}}
{{- $ := . -}}
{{- $labels := dict "component" "nats" "ctx" . -}}
metadata:
  labels:
    {{- include "skein.labels" $labels | nindent 4 }}
  {{- if .Values.podTemplate.configChecksumAnnotation }}
  annotations:
    checksum/config: {{ include "skein.config.text" . | sha256sum }}
  {{- end }}
spec:
  {{- include "skein.pullSecrets" . | nindent 2 }}
  {{- if .Values.serviceAccount.enabled }}
  serviceAccountName: {{ include "skein.named" (dict "of" .Values.serviceAccount "suffix" "" "ctx" .) | quote }}
  {{- end }}
  enableServiceLinks: false
  # The reloader's signal has to reach the server.
  shareProcessNamespace: {{ .Values.reloader.enabled }}
  securityContext:
    # The image's own user; volumes are made its own.
    runAsNonRoot: true
    runAsUser: 65532
    runAsGroup: 65532
    fsGroup: 65532
    fsGroupChangePolicy: OnRootMismatch
  # Longer than the lame duck's grace period and duration together.
  terminationGracePeriodSeconds: 60
  containers:
  - {{ include "skein.document" (dict "doc" "skein.container" "over" .Values.container "ctx" .) | nindent 4 | trim }}
  {{- if .Values.reloader.enabled }}
  - {{ include "skein.document" (dict "doc" "skein.reloader" "over" .Values.reloader "ctx" .) | nindent 4 | trim }}
  {{- end }}
  volumes:
  - name: config
    configMap: { name: {{ include "skein.named" (dict "of" .Values.configMap "suffix" "-config" "ctx" .) | quote }} }
  - name: pid
    emptyDir: {}
  {{- with .Values.config.jetstream }}
  {{- if and .enabled .fileStore.enabled (not .fileStore.pvc.enabled) }}
  - name: js
    emptyDir: {}
  {{- end }}
  {{- end }}
  {{- with .Values.config.resolver }}
  {{- if and .enabled (not .pvc.enabled) }}
  - name: resolver
    emptyDir: {}
  {{- end }}
  {{- end }}
  {{- include "skein.caVolume" . | nindent 2 }}
  {{- range (include "skein.secrets" . | fromJson).secrets }}
  - name: {{ .name | quote }}
    secret: { secretName: {{ .secretName | quote }} }
  {{- end }}
  {{- with .Values.podTemplate.topologySpreadConstraints }}
  topologySpreadConstraints:
  {{- range $key, $constraint := . }}
  - {{ merge (dict "topologyKey" $key "labelSelector" (dict "matchLabels" (include "skein.selector" $labels | fromYaml))) $constraint | toJson }}
  {{- end }}
  {{- end }}
{{- end -}}
