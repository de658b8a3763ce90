{{- define "digits-bentoml.tagged" -}}
{{- with .Values.image -}}
{{ .repository }}{{ with .tag }}:{{ . }}{{ end }}
{{- end -}}
{{- end -}}

{{- define "digits-bentoml.image" -}}
{{ include "digits-bentoml.tagged" . }}{{ with .Values.image.digest }}@{{ . }}{{ end }}
{{- end -}}

{{- define "digits-bentoml.weights" -}}
{{ include "digits-bentoml.tagged" . }}-weights
{{- end -}}
