{{- define "cpufit.labels" -}}
app.kubernetes.io/name: cpufit
{{- end }}

{{- define "cpufit.image" -}}
{{- with .Values.image -}}
{{- if .digest -}}
{{ .repository }}@{{ .digest }}
{{- else -}}
{{ .repository }}:{{ .tag | default $.Chart.AppVersion }}
{{- end -}}
{{- end -}}
{{- end }}

{{- define "cpufit.certManager" -}}
{{- if eq .Values.certificates.source "cert-manager" }}true{{ end -}}
{{- end }}

{{/* Metadata of a webhook configuration. */}}
{{- define "cpufit.webhookMetadata" -}}
name: cpufit
labels:
  {{- include "cpufit.labels" . | nindent 2 }}
{{- if include "cpufit.certManager" . }}
annotations:
  cert-manager.io/inject-ca-from: {{ .Release.Namespace }}/cpufit
{{- end }}
{{- end }}

{{/* Whose guests. */}}
{{- define "cpufit.namespaceSelector" -}}
namespaceSelector:
  matchExpressions:
  - key: kubernetes.io/metadata.name
    operator: NotIn
    values:
    {{- concat (list .Release.Namespace "kube-system") .Values.webhooks.kubevirtNamespaces | uniq | toYaml | nindent 4 }}
  - key: cpufit.io/exempt
    operator: NotIn
    values: ["true"]
{{- end }}

{{- define "cpufit.mutate" -}}
clientConfig:
  service: { namespace: {{ .Release.Namespace }}, name: cpufit, port: 443, path: /mutate }
{{- end }}

{{- define "cpufit.validate" -}}
clientConfig:
  service: { namespace: {{ .Release.Namespace }}, name: cpufit, port: 443, path: /validate }
{{- end }}

{{- define "cpufit.authorize" -}}
clientConfig:
  service: { namespace: {{ .Release.Namespace }}, name: cpufit, port: 443, path: /authorize }
{{- end }}

{{/* Whom a role is bound to. */}}
{{- define "cpufit.subjects" -}}
subjects:
- kind: ServiceAccount
  name: cpufit
  namespace: {{ .Release.Namespace }}
{{- end }}
