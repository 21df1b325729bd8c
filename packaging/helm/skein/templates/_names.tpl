{{/* Names, labels, images. */}}

{{- define "skein.name" -}}
{{- .Values.nameOverride | default .Chart.Name | trunc 63 | trimSuffix "-" -}}
{{- end -}}

{{- define "skein.fullname" -}}
{{- $name := include "skein.name" . -}}
{{- $full := ternary .Release.Name (printf "%s-%s" .Release.Name $name) (contains $name .Release.Name) -}}
{{- .Values.fullnameOverride | default $full | trunc 63 | trimSuffix "-" -}}
{{- end -}}

{{/* skein.named: { of: values with a name, suffix, ctx } */}}
{{- define "skein.named" -}}
{{- .of.name | default (printf "%s%s" (include "skein.fullname" .ctx) .suffix) -}}
{{- end -}}

{{/* Metadata's common part. { name, component, ctx } */}}
{{- define "skein.metadata" -}}
name: {{ .name | quote }}
{{- with .ctx.Values.namespaceOverride }}
namespace: {{ . | quote }}
{{- end }}
labels:
  {{- include "skein.labels" . | nindent 2 }}
{{- end -}}

{{- define "skein.labels" -}}
{{- with .ctx.Values.global.labels }}
{{- toYaml . }}
{{ end -}}
{{ include "skein.selector" . }}
helm.sh/chart: {{ printf "%s-%s" .ctx.Chart.Name .ctx.Chart.Version | quote }}
app.kubernetes.io/version: {{ .ctx.Chart.AppVersion | quote }}
app.kubernetes.io/managed-by: {{ .ctx.Release.Service | quote }}
{{- end -}}

{{- define "skein.selector" -}}
app.kubernetes.io/name: {{ include "skein.name" .ctx | quote }}
app.kubernetes.io/instance: {{ .ctx.Release.Name | quote }}
app.kubernetes.io/component: {{ .component | quote }}
{{- end -}}

{{/* { image, ctx } */}}
{{- define "skein.image" -}}
{{- $global := .ctx.Values.global.image -}}
{{- $name := .image.repository -}}
{{- with (.image.registry | default $global.registry) }}{{ $name = printf "%s/%s" . $name }}{{ end -}}
{{- $name = ternary (printf "%s@%s" $name .image.digest) (printf "%s:%s" $name (.image.tag | default .ctx.Chart.AppVersion)) (not (empty .image.digest)) -}}
image: {{ .image.fullImageName | default $name | quote }}
{{- with (.image.pullPolicy | default $global.pullPolicy) }}
imagePullPolicy: {{ . }}
{{- end }}
{{- end -}}

{{- define "skein.pullSecrets" -}}
{{- with .Values.global.image.pullSecretNames }}
imagePullSecrets:
{{- range . }}
- name: {{ . | quote }}
{{- end }}
{{- end }}
{{- end -}}

{{/* name: text or map -> list of variables */}}
{{- define "skein.env" -}}
{{- range $name, $value := . }}
{{- if kindIs "map" $value }}
- {{ merge (dict "name" $name) $value | toJson }}
{{- else if kindIs "string" $value }}
- {{ dict "name" $name "value" $value | toJson }}
{{- else }}
{{- fail (printf "env %s: a text or a map is wanted, not %s (quote numbers)" $name (kindOf $value)) }}
{{- end }}
{{- end }}
{{- end -}}

{{/* What a claim looks like. { pvc, name, ctx } */}}
{{- define "skein.claim" -}}
metadata:
  {{- include "skein.metadata" (dict "name" .name "component" "nats" "ctx" .ctx) | nindent 2 }}
spec:
  accessModes: [ReadWriteOnce]
  {{- with .pvc.storageClassName }}
  storageClassName: {{ . | quote }}
  {{- end }}
  resources:
    requests:
      storage: {{ .pvc.size | quote }}
{{- end -}}
