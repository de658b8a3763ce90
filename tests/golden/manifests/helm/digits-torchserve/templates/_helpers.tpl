{{- define "digits-torchserve.tagged" -}}
{{- with .Values.image -}}
{{ .repository }}{{ with .tag }}:{{ . }}{{ end }}
{{- end -}}
{{- end -}}

{{- define "digits-torchserve.image" -}}
{{ include "digits-torchserve.tagged" . }}{{ with .Values.image.digest }}@{{ . }}{{ end }}
{{- end -}}

{{- define "digits-torchserve.weights" -}}
{{ include "digits-torchserve.tagged" . }}-weights
{{- end -}}
