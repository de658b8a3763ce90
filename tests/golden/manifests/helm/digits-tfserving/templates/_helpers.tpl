{{- define "digits-tfserving.tagged" -}}
{{- with .Values.image -}}
{{ .repository }}{{ with .tag }}:{{ . }}{{ end }}
{{- end -}}
{{- end -}}

{{- define "digits-tfserving.image" -}}
{{ include "digits-tfserving.tagged" . }}{{ with .Values.image.digest }}@{{ . }}{{ end }}
{{- end -}}

{{- define "digits-tfserving.weights" -}}
{{ include "digits-tfserving.tagged" . }}-weights
{{- end -}}
