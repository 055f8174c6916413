{{- define "tally.name" -}}
{{- if contains .Chart.Name .Release.Name -}}
{{ .Release.Name | trunc 40 | trimSuffix "-" }}
{{- else -}}
{{ printf "%s-%s" .Release.Name .Chart.Name | trunc 40 | trimSuffix "-" }}
{{- end -}}
{{- end -}}

{{/* What selects the pods of one role. Never changes, because a Deployment's selector can't. */}}
{{- define "tally.selector" -}}
app.kubernetes.io/name: {{ .root.Chart.Name }}
app.kubernetes.io/instance: {{ .root.Release.Name }}
app.kubernetes.io/component: {{ .role }}
{{- end -}}

{{- define "tally.labels" -}}
{{ include "tally.selector" . }}
app.kubernetes.io/part-of: tally
app.kubernetes.io/version: {{ .root.Chart.AppVersion | quote }}
app.kubernetes.io/managed-by: {{ .root.Release.Service }}
helm.sh/chart: {{ printf "%s-%s" .root.Chart.Name .root.Chart.Version | replace "+" "_" }}
{{- end -}}

{{- define "tally.metadata" -}}
name: {{ include "tally.name" .root }}-{{ .role }}
namespace: {{ .root.Release.Namespace }}
labels:
  {{- include "tally.labels" . | nindent 2 }}
{{- end -}}

{{- define "tally.image" -}}
{{- if .Values.image.digest -}}
{{ .Values.image.repository }}@{{ .Values.image.digest }}
{{- else -}}
{{ .Values.image.repository }}:{{ .Values.image.tag | default .Chart.AppVersion }}
{{- end -}}
{{- end -}}

{{- define "tally.graceMs" -}}
{{ int (get .Values.settings "SHUTDOWN_GRACE_MS" | default 8000) }}
{{- end -}}

{{- define "tally.port" -}}
{{ get (dict "dashboard" 3000 "producer" 3001 "worker" 3002) .role }}
{{- end -}}

{{/* One variable from the secret that the operator made. */}}
{{- define "tally.fromSecret" -}}
- name: {{ .name }}
  valueFrom:
    secretKeyRef:
      name: {{ required "existingSecret: name the Secret with REDIS_URL and the others (see values.yaml)" .root.Values.existingSecret }}
      key: {{ .name }}
      {{- if .optional }}
      optional: true
      {{- end }}
{{- end -}}

{{- define "tally.databaseUrl" -}}
{{- if .Values.harbor.enabled -}}
{{- range $name := list "HOST" "PORT" "USERNAME" "DATABASE" "SSLMODE" }}
- name: HARBOR_DATABASE_{{ $name }}
  valueFrom:
    configMapKeyRef:
      name: {{ $.Values.harbor.configMap }}
      key: POSTGRESQL_{{ $name }}
{{- end }}
- name: HARBOR_DATABASE_PASSWORD
  valueFrom:
    secretKeyRef:
      name: {{ .Values.harbor.secret }}
      key: {{ .Values.harbor.passwordKey }}
- name: DATABASE_URL
  value: postgres://$(HARBOR_DATABASE_USERNAME):$(HARBOR_DATABASE_PASSWORD)@$(HARBOR_DATABASE_HOST):$(HARBOR_DATABASE_PORT)/$(HARBOR_DATABASE_DATABASE)?sslmode=$(HARBOR_DATABASE_SSLMODE)
{{- else }}
{{ include "tally.fromSecret" (dict "root" . "name" "DATABASE_URL") }}
{{- end }}
{{- if .Values.caBundleSecretName }}
- name: NODE_EXTRA_CA_CERTS
  value: /etc/tally/ca/{{ .Values.caBundleKey }}
{{- end }}
{{- end -}}

{{/* What each role needs to know, and no more. */}}
{{- define "tally.environment" -}}
{{- include "tally.databaseUrl" .root }}
{{ include "tally.fromSecret" (dict "root" .root "name" "REDIS_URL") }}
- name: HTTP_HOST
  value: 0.0.0.0
- name: {{ upper .role }}_PORT
  value: {{ include "tally.port" . | quote }}
{{- if eq .role "producer" }}
{{ include "tally.fromSecret" (dict "root" .root "name" "API_TOKEN" "optional" true) }}
{{- if .root.Values.harbor.enabled }}
- name: HARBOR_REDIS_URL
  valueFrom:
    configMapKeyRef:
      name: {{ .root.Values.harbor.configMap }}
      key: {{ .root.Values.harbor.redisUrlKey }}
{{- else }}
{{ include "tally.fromSecret" (dict "root" .root "name" "HARBOR_REDIS_URL" "optional" true) }}
{{- end }}
{{- else if eq .role "dashboard" }}
{{ include "tally.fromSecret" (dict "root" .root "name" "DASHBOARD_PASSWORD") }}
{{ include "tally.fromSecret" (dict "root" .root "name" "DASHBOARD_VIEWER_PASSWORD" "optional" true) }}
{{- end }}
{{- end -}}

{{- define "tally.podSecurity" -}}
runAsNonRoot: true
runAsUser: 10000
runAsGroup: 10000
fsGroup: 10000
seccompProfile:
  type: RuntimeDefault
{{- end -}}

{{- define "tally.containerSecurity" -}}
allowPrivilegeEscalation: false
readOnlyRootFilesystem: true
capabilities:
  drop: [ALL]
{{- end -}}

{{- define "tally.mounts" -}}
- name: tmp
  mountPath: /tmp
{{- if .Values.caBundleSecretName }}
- name: ca
  mountPath: /etc/tally/ca
  readOnly: true
{{- end }}
{{- end -}}

{{- define "tally.volumes" -}}
- name: tmp
  emptyDir:
    sizeLimit: 64Mi
{{- if .Values.caBundleSecretName }}
- name: ca
  secret:
    secretName: {{ .Values.caBundleSecretName }}
{{- end }}
{{- end -}}

{{- define "tally.placement" -}}
{{- with .Values.imagePullSecrets }}
imagePullSecrets:
  {{- toYaml . | nindent 2 }}
{{- end }}
{{- with .Values.nodeSelector }}
nodeSelector:
  {{- toYaml . | nindent 2 }}
{{- end }}
{{- with .Values.tolerations }}
tolerations:
  {{- toYaml . | nindent 2 }}
{{- end }}
{{- with .Values.affinity }}
affinity:
  {{- toYaml . | nindent 2 }}
{{- end }}
{{- end -}}

{{/* The pod of a role that runs all the time. */}}
{{- define "tally.podTemplate" -}}
metadata:
  labels:
    {{- include "tally.labels" . | nindent 4 }}
  annotations:
    # A changed setting restarts the pods.
    checksum/settings: {{ toJson .root.Values.settings | sha256sum }}
    {{- with .root.Values.podAnnotations }}
    {{- toYaml . | nindent 4 }}
    {{- end }}
spec:
  serviceAccountName: {{ include "tally.name" .root }}
  automountServiceAccountToken: false
  enableServiceLinks: false
  # Longer than SHUTDOWN_GRACE_MS: a process that stops by itself has finished its batch.
  terminationGracePeriodSeconds: {{ add 12 (div (include "tally.graceMs" .root | int) 1000) }}
  securityContext:
    {{- include "tally.podSecurity" . | nindent 4 }}
  {{- with include "tally.placement" .root }}
  {{- . | nindent 2 }}
  {{- end }}
  {{- with (get .root.Values .role).topologySpreadConstraints }}
  topologySpreadConstraints:
    {{- range . }}
    - {{- toYaml . | nindent 6 }}
      {{- if not .labelSelector }}
      labelSelector:
        matchLabels:
          {{- include "tally.selector" $ | nindent 10 }}
      {{- end }}
    {{- end }}
  {{- end }}
  containers:
    - name: {{ .role }}
      image: {{ include "tally.image" .root }}
      imagePullPolicy: {{ .root.Values.image.pullPolicy }}
      args: [{{ .role }}]
      envFrom:
        - configMapRef:
            name: {{ include "tally.name" .root }}-settings
      env:
        {{- include "tally.environment" . | trim | nindent 8 }}
      ports:
        - name: http
          containerPort: {{ include "tally.port" . }}
      # It may load for a minute on a busy node.
      startupProbe:
        httpGet: { path: /healthz, port: http }
        periodSeconds: 2
        timeoutSeconds: 2
        failureThreshold: 30
      # A store that is unavailable is no reason to restart: /healthz asks none.
      livenessProbe:
        httpGet: { path: /healthz, port: http }
        periodSeconds: 10
        timeoutSeconds: 5
        failureThreshold: 6
      # Each check takes 2 s at most.
      readinessProbe:
        httpGet: { path: /readyz, port: http }
        periodSeconds: 5
        timeoutSeconds: 3
        failureThreshold: 2
      resources:
        {{- toYaml (get .root.Values .role).resources | nindent 8 }}
      securityContext:
        {{- include "tally.containerSecurity" . | nindent 8 }}
      volumeMounts:
        {{- include "tally.mounts" .root | nindent 8 }}
  volumes:
    {{- include "tally.volumes" .root | nindent 4 }}
{{- end -}}
