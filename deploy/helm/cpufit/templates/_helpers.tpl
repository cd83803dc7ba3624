{{/* The name of the Deployment and of what serves it. The Service, the Lease, the Secret and the webhook configurations are always called cpufit: by that name
cpufit finds them, and it comes before virt-api-mutator. */}}
{{- define "cpufit.name" -}}
{{- .Values.nameOverride | default .Chart.Name | trunc 63 | trimSuffix "-" -}}
{{- end }}

{{/* Labels by which the pods are selected. They equal those of deploy/base, because a Deployment's selector cannot be changed. */}}
{{- define "cpufit.selectorLabels" -}}
app.kubernetes.io/name: {{ include "cpufit.name" . }}
{{- end }}

{{- define "cpufit.podLabels" -}}
{{- $version := .Values.image.tag | default .Chart.AppVersion | replace "+" "_" | trunc 63 | trimSuffix "-" | trimSuffix "_" | trimSuffix "." -}}
{{- $own := dict
  "app.kubernetes.io/name" (include "cpufit.name" .)
  "app.kubernetes.io/component" "webhook"
  "app.kubernetes.io/part-of" "cpufit"
  "app.kubernetes.io/instance" (.Release.Name | trunc 63)
  "app.kubernetes.io/version" $version
-}}
{{- toYaml (merge $own (deepCopy .Values.podLabels) .Values.commonLabels) -}}
{{- end }}

{{- define "cpufit.labels" -}}
{{- $version := .Values.image.tag | default .Chart.AppVersion | replace "+" "_" | trunc 63 | trimSuffix "-" | trimSuffix "_" | trimSuffix "." -}}
{{- $own := dict
  "app.kubernetes.io/name" (include "cpufit.name" .)
  "app.kubernetes.io/component" "webhook"
  "app.kubernetes.io/part-of" "cpufit"
  "app.kubernetes.io/instance" (.Release.Name | trunc 63)
  "app.kubernetes.io/version" $version
  "app.kubernetes.io/managed-by" .Release.Service
  "helm.sh/chart" (printf "%s-%s" .Chart.Name .Chart.Version | replace "+" "_" | trunc 63 | trimSuffix "-")
-}}
{{- toYaml (merge $own (deepCopy .Values.commonLabels)) -}}
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

{{- define "cpufit.serviceAccountName" -}}
{{- if .Values.serviceAccount.create -}}
{{ .Values.serviceAccount.name | default "cpufit" }}
{{- else -}}
{{ .Values.serviceAccount.name | default "default" }}
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
{{- $annotations := deepCopy .Values.webhooks.annotations }}
{{- if include "cpufit.certManager" . }}
{{- $_ := set $annotations "cert-manager.io/inject-ca-from" (printf "%s/cpufit" .Release.Namespace) }}
{{- end }}
{{- with $annotations }}
annotations:
  {{- toYaml . | nindent 2 }}
{{- end }}
{{- end }}

{{/* The selector of namespaces whose guests are reviewed. */}}
{{- define "cpufit.namespaceSelector" -}}
namespaceSelector:
  {{- with .Values.webhooks.namespaceSelector.matchLabels }}
  matchLabels:
    {{- toYaml . | nindent 4 }}
  {{- end }}
  matchExpressions:
  - key: kubernetes.io/metadata.name
    operator: NotIn
    values:
    {{- concat (list .Release.Namespace "kube-system") .Values.webhooks.kubevirtNamespaces | uniq | toYaml | nindent 4 }}
  - key: cpufit.io/exempt
    operator: NotIn
    values: ["true"]
  {{- with .Values.webhooks.namespaceSelector.matchExpressions }}
  {{- toYaml . | nindent 2 }}
  {{- end }}
{{- end }}

{{- define "cpufit.mutate" -}}
clientConfig:
  service: { namespace: {{ .Release.Namespace | quote }}, name: cpufit, port: 443, path: /mutate }
{{- end }}

{{- define "cpufit.validate" -}}
clientConfig:
  service: { namespace: {{ .Release.Namespace | quote }}, name: cpufit, port: 443, path: /validate }
{{- end }}

{{- define "cpufit.authorize" -}}
clientConfig:
  service: { namespace: {{ .Release.Namespace | quote }}, name: cpufit, port: 443, path: /authorize }
{{- end }}

{{/* The subjects of a role binding. */}}
{{- define "cpufit.subjects" -}}
subjects:
- kind: ServiceAccount
  name: {{ include "cpufit.serviceAccountName" . }}
  namespace: {{ .Release.Namespace | quote }}
{{- end }}
