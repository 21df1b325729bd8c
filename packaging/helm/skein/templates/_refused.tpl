{{/* Values of the official chart that would not do here what they say. They are refused, and never ignored. */}}
{{- define "skein.refused" -}}
{{- $config := .Values.config -}}
{{- range $name, $why := dict
    "cluster" "Skein is one server: clusters and replicated streams are not there yet"
    "gateway" "Skein is one server: gateways are not there yet"
    "leafnodes" "leafnodes are not there yet"
    "websocket" "WebSocket is not there yet"
    "mqtt" "MQTT is not there yet"
    "profiling" "there is no profiling port: /metrics and the live page tell where time goes" -}}
{{- if (get $config $name | default dict).enabled }}{{ fail (printf "config.%s.enabled: %s" $name $why) }}{{ end -}}
{{- end -}}
{{- range $key := list "cluster" "gateway" "leafnodes" "websocket" "mqtt" -}}
{{- if hasKey ($config.merge | default dict) $key }}{{ fail (printf "config.merge.%s: it is not there yet" $key) }}{{ end -}}
{{- end -}}
{{- if .Values.promExporter.enabled }}
{{- fail "promExporter.enabled: no exporter is needed, /metrics of the monitoring port is built in; set promExporter.podMonitor.enabled for Prometheus to ask it" }}
{{- end -}}
{{- if and .Values.promExporter.podMonitor.enabled (not $config.monitor.enabled) }}
{{- fail "promExporter.podMonitor.enabled: it asks the monitoring port; set config.monitor.enabled" }}
{{- end -}}
{{- if and $config.monitor.tls.enabled (not $config.nats.tls.enabled) }}
{{- fail "config.monitor.tls.enabled: it takes the certificate of config.nats.tls; set config.nats.tls.enabled" }}
{{- end -}}
{{- if and $config.jetstream.enabled (not $config.jetstream.fileStore.enabled) (not $config.jetstream.memoryStore.enabled) }}
{{- fail "config.jetstream.enabled: neither fileStore nor memoryStore is enabled" }}
{{- end -}}
{{- if gt (((.Values.statefulSet.merge | default dict).spec | default dict).replicas | default 1 | int) 1 }}
{{- fail "statefulSet.merge.spec.replicas: pods of one release would not know of each other; clusters are not there yet" }}
{{- end -}}
{{- if eq .Values.container.seccompProfile.type "RuntimeDefault" }}
{{- fail "container.seccompProfile.type: RuntimeDefault denies io_uring, and the server would end at once; use Localhost with tuning/seccomp-io_uring.json" }}
{{- end -}}
{{- end -}}
