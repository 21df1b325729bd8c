{{/* The server's configuration file, as a map. Kubernetes spells sizes as Ki, Mi, …, the file as KiB, MiB, … */}}

{{- define "skein.size" -}}
{{- $size := . | toString -}}
{{- if regexMatch "^[0-9]+[KMGTPE]i$" $size -}}
<< {{ $size }}B >>
{{- else if regexMatch "^[0-9]+[kMGTPE]$" $size -}}
<< {{ $size | upper }} >>
{{- else if regexMatch "^[0-9]+$" $size -}}
<< {{ $size }} >>
{{- else -}}
{{- fail (printf "size %q: a whole number is wanted, with Ki, Mi, Gi, Ti or without a unit" $size) -}}
{{- end -}}
{{- end -}}

{{- define "skein.config.tls" -}}
{{- $tls := .Values.config.nats.tls -}}
{{- if not (or $tls.secretName (hasKey ($tls.merge | default dict) "cert_file")) }}{{ fail "config.nats.tls.secretName: the name of the secret with the certificate is wanted" }}{{ end -}}
{{- if $tls.secretName }}
cert_file: {{ printf "%s/%s" $tls.dir $tls.cert | quote }}
key_file: {{ printf "%s/%s" $tls.dir $tls.key | quote }}
{{- end }}
{{- with .Values.tlsCA }}
{{- if .enabled }}
ca_file: {{ printf "%s/%s" .dir .key | quote }}
{{- end }}
{{- end }}
{{- end -}}

{{- define "skein.config.jetstream" -}}
{{- with .Values.config.jetstream.fileStore }}
{{- if .enabled }}
store_dir: {{ .dir | quote }}
max_file_store: {{ include "skein.size" (.maxSize | default .pvc.size) | quote }}
{{- else }}
max_file_store: 0
{{- end }}
{{- end }}
{{- with .Values.config.jetstream.memoryStore }}
max_memory_store: {{ ternary (include "skein.size" .maxSize) "<< 0 >>" .enabled | quote }}
{{- end }}
{{- end -}}

{{- define "skein.config.resolver" -}}
type: full
dir: {{ .Values.config.resolver.dir | quote }}
{{- end -}}

{{- define "skein.config" -}}
{{- $config := .Values.config -}}
server_name: << $SERVER_NAME >>
pid_file: /var/run/nats/nats.pid
# Clients leave over 30 seconds, and then the pod ends: terminationGracePeriodSeconds is longer.
lame_duck_grace_period: 10s
lame_duck_duration: 30s
port: {{ $config.nats.port }}
{{- if $config.nats.tls.enabled }}
tls:
  {{- include "skein.document" (dict "doc" "skein.config.tls" "over" $config.nats.tls "ctx" .) | nindent 2 }}
{{- end }}
{{- if $config.monitor.enabled }}
{{ ternary "https_port" "http_port" $config.monitor.tls.enabled }}: {{ $config.monitor.port }}
{{- end }}
{{- if $config.jetstream.enabled }}
jetstream:
  {{- include "skein.document" (dict "doc" "skein.config.jetstream" "over" $config.jetstream "ctx" .) | nindent 2 }}
{{- end }}
{{- if $config.resolver.enabled }}
resolver:
  {{- include "skein.document" (dict "doc" "skein.config.resolver" "over" $config.resolver "ctx" .) | nindent 2 }}
{{- end }}
{{- end -}}

{{/*
The map as the server reads it: JSON, which its language contains, but for what is to stand without quotes and for includes.
toRawJson leaves <, > and & as they are.
*/}}
{{- define "skein.config.text" -}}
{{- $text := include "skein.document" (dict "doc" "skein.config" "over" .Values.config "ctx" .) | fromYaml | toPrettyJson -}}
{{- $text = $text | replace "\\u003c" "<" | replace "\\u003e" ">" | replace "\\u0026" "&" -}}
{{- $text = regexReplaceAll "(?m)^( *)\"[^\"]*\\$include\": (\"[^\"]*\"),?$" $text "${1}include ${2}" -}}
{{- regexReplaceAll "\"<<\\s+(.*?)\\s+>>\"" $text "${1}" -}}
{{- end -}}
