{{/*
What `merge` and `patch` of the values do to what the chart makes.

skein.document: { doc: name of a template that writes YAML, over: values with merge and patch, ctx } -> YAML
*/}}
{{- define "skein.document" -}}
{{- $doc := include .doc .ctx | fromYaml -}}
{{- if hasKey $doc "Error" }}{{ fail (printf "%s: %s" .doc $doc.Error) }}{{ end -}}
{{- $over := .over | default dict -}}
{{- $doc = mergeOverwrite $doc (deepCopy ($over.merge | default dict)) -}}
{{- range $over.patch -}}
{{- if not (has .op (list "add" "replace" "remove")) }}{{ fail (printf "patch: %v is not offered: add, replace and remove are" .op) }}{{ end -}}
{{- if not (hasPrefix "/" .path) }}{{ fail (printf "patch: the path %q does not begin with a slash" .path) }}{{ end -}}
{{- $names := list -}}
{{- range (splitList "/" .path | rest) }}{{ $names = append $names (. | replace "~1" "/" | replace "~0" "~") }}{{ end -}}
{{- $doc = (include "skein.patched" (dict "node" $doc "names" $names "op" . ) | fromJson).node -}}
{{- end -}}
{{- toYaml $doc -}}
{{- end -}}

{{/* skein.patched: { node, names: what is left of the path, op } -> JSON { node: with the operation done } */}}
{{- define "skein.patched" -}}
{{- $node := .node -}}
{{- $op := .op -}}
{{- $name := first .names -}}
{{- $below := rest .names -}}
{{- $lacking := printf "patch: there is no %s (%s)" $op.path $op.op -}}
{{- if kindIs "map" $node -}}
  {{- if $below -}}
    {{- if not (hasKey $node $name) }}{{ fail $lacking }}{{ end -}}
    {{- $_ := set $node $name (include "skein.patched" (dict "node" (get $node $name) "names" $below "op" $op) | fromJson).node -}}
  {{- else if eq $op.op "add" -}}
    {{- $_ := set $node $name $op.value -}}
  {{- else if not (hasKey $node $name) -}}
    {{- fail $lacking -}}
  {{- else if eq $op.op "replace" -}}
    {{- $_ := set $node $name $op.value -}}
  {{- else -}}
    {{- $_ := unset $node $name -}}
  {{- end -}}
{{- else if kindIs "slice" $node -}}
  {{- $end := and (eq $name "-") (eq $op.op "add") (not $below) -}}
  {{- if not (or $end (regexMatch "^(0|[1-9][0-9]*)$" $name)) }}{{ fail $lacking }}{{ end -}}
  {{- $at := ternary (len $node) (int $name) $end -}}
  {{- $adds := and (eq $op.op "add") (not $below) -}}
  {{- if or (gt $at (len $node)) (and (not $adds) (eq $at (len $node))) }}{{ fail $lacking }}{{ end -}}
  {{- $made := list -}}
  {{- range $i, $entry := $node -}}
    {{- if ne $i $at -}}
      {{- $made = append $made $entry -}}
    {{- else if $below -}}
      {{- $made = append $made (include "skein.patched" (dict "node" $entry "names" $below "op" $op) | fromJson).node -}}
    {{- else if eq $op.op "replace" -}}
      {{- $made = append $made $op.value -}}
    {{- else if $adds -}}
      {{- $made = append (append $made $op.value) $entry -}}
    {{- end -}}
  {{- end -}}
  {{- if and $adds (eq $at (len $node)) }}{{ $made = append $made $op.value }}{{ end -}}
  {{- $node = $made -}}
{{- else -}}
  {{- fail $lacking -}}
{{- end -}}
{{- dict "node" $node | toJson -}}
{{- end -}}
