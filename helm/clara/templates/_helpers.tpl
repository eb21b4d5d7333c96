{{- define "clara.labels" -}}
app.kubernetes.io/name: clara
app.kubernetes.io/part-of: clara
app.kubernetes.io/managed-by: {{ .Release.Service }}
app.kubernetes.io/version: {{ .Chart.AppVersion | quote }}
{{- end }}

{{- define "clara.podSecurity" -}}
runAsNonRoot: true
runAsUser: 65532
runAsGroup: 65532
fsGroup: 65532
seccompProfile: {type: RuntimeDefault}
{{- end }}

{{- define "clara.containerSecurity" -}}
allowPrivilegeEscalation: false
readOnlyRootFilesystem: true
capabilities: {drop: [ALL]}
{{- end }}

{{/* The operator's identity in the kept policies: it follows the newest install. */}}
{{- define "clara.operatorUser" -}}
system:serviceaccount:{{ .Release.Namespace }}:clara-operator
{{- end }}

{{- define "clara.checkValues" -}}
{{- if not .Values.watchNamespaces }}
{{- fail "watchNamespaces is empty: list the namespaces Clara serves, for example --set 'watchNamespaces={team-a,team-b}'" }}
{{- end }}
{{- if and (eq .Values.securityMode "production") (not .Values.gateway.keysSecret) }}
{{- fail (printf "securityMode production needs gateway.keysSecret, a Secret in namespace %s with one entry per key: its sha256. For example: kubectl -n %s create secret generic clara-keys --from-literal=my-app=$(printf %%s MY-KEY | sha256sum | cut -c1-64)" .Release.Namespace .Release.Namespace) }}
{{- end }}
{{- end }}

{{/* Name and metadata of an object that outlives the release. A later install takes it over: helm … --take-ownership. */}}
{{- define "clara.keptMetadata" -}}
metadata:
  name: {{ .name }}
  labels: {{- include "clara.labels" .root | nindent 4 }}
  annotations: {helm.sh/resource-policy: keep}
{{- end }}

{{- define "clara.policyBinding" -}}
---
apiVersion: admissionregistration.k8s.io/v1
kind: ValidatingAdmissionPolicyBinding
{{ include "clara.keptMetadata" . }}
spec: {policyName: {{ .name }}, validationActions: [Deny]}
{{- end }}
