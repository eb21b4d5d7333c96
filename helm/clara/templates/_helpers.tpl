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
{{- fail "securityMode production needs gateway.keysSecret: make the Secret with 'kubectl clara key create', or set securityMode=development on a machine of your own" }}
{{- end }}
{{- end }}
