{{- define "cpufit.name" -}}
{{- .Values.nameOverride | default .Chart.Name | trunc 63 | trimSuffix "-" -}}
{{- end }}

{{/* The name of the Deployment and of what belongs to it. The Service, the Lease, the Secret and the webhook configurations are always called cpufit: by that
name cpufit finds them, and it comes before virt-api-mutator. */}}
{{- define "cpufit.fullname" -}}
{{- .Values.fullnameOverride | default (include "cpufit.name" .) | trunc 63 | trimSuffix "-" -}}
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
{{- toYaml (merge $own (deepCopy (.Values.podLabels | default dict)) (.Values.commonLabels | default dict)) -}}
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
{{- toYaml (merge $own (deepCopy (.Values.commonLabels | default dict))) -}}
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
{{- $annotations := deepCopy (.Values.webhooks.annotations | default dict) }}
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
  {{- $selector := .Values.webhooks.namespaceSelector | default dict }}
  {{- with $selector.matchLabels }}
  matchLabels:
    {{- toYaml . | nindent 4 }}
  {{- end }}
  matchExpressions:
  - key: kubernetes.io/metadata.name
    operator: NotIn
    values:
    {{- concat (list .Release.Namespace "kube-system") (.Values.webhooks.kubevirtNamespaces | default list) | uniq | toYaml | nindent 4 }}
  - key: cpufit.io/exempt
    operator: NotIn
    values: ["true"]
  {{- with $selector.matchExpressions }}
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

{{/* The update strategy. Updated pods come first, except where the pods occupy ports of their nodes: there a pod leaves before the updated one comes, because
no other node may be free. Both numbers cannot be 0. */}}
{{- define "cpufit.strategy" -}}
{{- $strategy := .Values.strategy | default dict -}}
{{- if eq ($strategy.type | default "RollingUpdate") "Recreate" -}}
type: Recreate
{{- else -}}
{{- $given := $strategy.rollingUpdate | default dict -}}
{{- $unset := list "" "<nil>" -}}
{{- $zero := list "0" "0%" -}}
{{- $surge := $given.maxSurge -}}
{{- $unavailable := $given.maxUnavailable -}}
{{- if has (toString $surge) $unset -}}
{{- $surge = ternary 0 1 (and (eq (toString .Values.hostNetwork) "true") (not (has (toString $unavailable) $zero))) -}}
{{- end -}}
{{- if has (toString $unavailable) $unset -}}
{{- $unavailable = ternary 1 0 (or (eq (toString .Values.hostNetwork) "true") (has (toString $surge) $zero)) -}}
{{- end -}}
{{- with $strategy.type }}
type: {{ . }}
{{- end }}
rollingUpdate:
  maxUnavailable: {{ $unavailable }}
  maxSurge: {{ $surge }}
{{- end -}}
{{- end }}

{{/* Prints true if it is certain that the pods meet the restricted Pod Security Standard. */}}
{{- define "cpufit.restricted" -}}
{{- $pod := .Values.podSecurityContext | default dict -}}
{{- $container := .Values.securityContext | default dict -}}
{{- $both := merge (deepCopy $container) $pod -}}
{{- $capabilities := $both.capabilities | default dict -}}
{{- $seccomp := $both.seccompProfile | default dict -}}
{{- $met := and
  (not .Values.hostNetwork)
  (empty (omit $both "runAsUser" "runAsGroup" "runAsNonRoot" "seccompProfile" "fsGroup" "fsGroupChangePolicy" "supplementalGroups"
    "allowPrivilegeEscalation" "readOnlyRootFilesystem" "capabilities"))
  (eq (toString $both.runAsNonRoot) "true")
  (ne (toString $container.runAsNonRoot) "false")
  (not (has "0" (list (toString $pod.runAsUser) (toString $container.runAsUser))))
  (has $seccomp.type (list "RuntimeDefault" "Localhost"))
  (eq (toString $both.allowPrivilegeEscalation) "false")
  (has "ALL" ($capabilities.drop | default list))
  (empty (without ($capabilities.add | default list) "NET_BIND_SERVICE"))
-}}
{{- range .Values.extraVolumes -}}
{{- if empty (pick . "configMap" "csi" "downwardAPI" "emptyDir" "ephemeral" "persistentVolumeClaim" "projected" "secret") -}}
{{- $met = false -}}
{{- end -}}
{{- end -}}
{{- if $met }}true{{ end -}}
{{- end }}
