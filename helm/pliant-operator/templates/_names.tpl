{{/* The name of every object of the operator: the release's, with the chart's unless it is in there already. */}}
{{- define "pliant-operator.name" -}}
{{- if contains .Chart.Name .Release.Name -}}
{{- .Release.Name | trunc 53 | trimSuffix "-" -}}
{{- else -}}
{{- printf "%s-%s" .Release.Name .Chart.Name | trunc 53 | trimSuffix "-" -}}
{{- end -}}
{{- end -}}

{{/* The name of objects outside any namespace: two releases of one name in two namespaces must not share them. */}}
{{- define "pliant-operator.clusterName" -}}
{{- printf "%s-%s" (include "pliant-operator.name" .) .Release.Namespace -}}
{{- end -}}

{{- define "pliant-operator.selector" -}}
app.kubernetes.io/name: {{ .Chart.Name }}
app.kubernetes.io/instance: {{ .Release.Name }}
app.kubernetes.io/component: operator
{{- end -}}

{{- define "pliant-operator.labels" -}}
{{ include "pliant-operator.selector" . }}
app.kubernetes.io/version: {{ .Chart.AppVersion | quote }}
app.kubernetes.io/managed-by: {{ .Release.Service }}
helm.sh/chart: {{ printf "%s-%s" .Chart.Name .Chart.Version }}
{{- end -}}
