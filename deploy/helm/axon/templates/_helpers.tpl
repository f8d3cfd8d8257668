{{- define "axon.name" -}}
{{- if contains "axon" .Release.Name }}{{ .Release.Name | trunc 63 | trimSuffix "-" }}{{ else }}{{ printf "%s-axon" .Release.Name | trunc 63 | trimSuffix "-" }}{{ end }}
{{- end }}

{{- define "axon.selector" -}}
app.kubernetes.io/name: axon
app.kubernetes.io/instance: {{ .Release.Name }}
{{- end }}

{{- define "axon.labels" -}}
{{ include "axon.selector" . }}
app.kubernetes.io/version: {{ .Values.image.tag | default .Chart.AppVersion | quote }}
app.kubernetes.io/managed-by: {{ .Release.Service }}
helm.sh/chart: {{ printf "%s-%s" .Chart.Name .Chart.Version }}
{{- end }}

{{- define "axon.image" -}}
{{- with .Values.image }}
{{- if .digest }}{{ .repository }}@{{ .digest }}{{ else }}{{ .repository }}:{{ .tag | default $.Chart.AppVersion }}{{ end }}
{{- end }}
{{- end }}

{{- define "axon.serviceAccount" -}}
{{- if .Values.serviceAccount.create }}{{ .Values.serviceAccount.name | default (include "axon.name" .) }}{{ else }}{{ .Values.serviceAccount.name | default "default" }}{{ end }}
{{- end }}

{{- /* A value as the text of a variable. Helm reads numbers as floats, and would write 33554432 as 3.3554432e+07. */ -}}
{{- define "axon.text" -}}
{{- if and (kindIs "float64" .) (eq (floor .) .) }}{{ int64 . }}{{ else }}{{ . }}{{ end }}
{{- end }}

{{- define "axon.grace" -}}
{{- with .Values }}
{{- if kindIs "invalid" .gracePeriodSeconds }}{{ add (ceil .settings.AXON_DRAIN_SECONDS) .settings.AXON_SHUTDOWN_SECONDS .preStopSeconds 5 }}{{ else }}{{ int64 .gracePeriodSeconds }}{{ end }}
{{- end }}
{{- end }}

{{- define "axon.scheme" -}}
{{ if .Values.tls.secret }}HTTPS{{ else }}HTTP{{ end }}
{{- end }}

{{- define "axon.storePath" -}}
{{- if eq .Values.workload "InferenceService" }}/mnt/models{{ else if eq .Values.store.kind "bucket" }}{{ .Values.store.bucket.url }}{{ else }}{{ .Values.store.path }}{{ end }}
{{- end }}

{{- define "axon.hasCache" -}}
{{ and (eq .Values.workload "Deployment") (eq .Values.store.kind "bucket") }}
{{- end }}

{{- /* Variables that the chart sets, then the settings in the order of their names, then what the user adds. */ -}}
{{- define "axon.env" -}}
- {name: AXON_STORE, value: {{ include "axon.storePath" . | quote }}}
- {name: AXON_PORT, value: {{ ternary "8080" "8000" (eq .Values.workload "InferenceService") | quote }}}
- {name: AXON_RUNTIME_DIR, value: /tmp/axon}
{{- if eq (include "axon.hasCache" .) "true" }}
{{- /* A folder that the server makes: the mount itself may be written to by everybody, which the server refuses. */}}
- {name: AXON_STORE_CACHE, value: /cache/axon}
{{- end }}
{{- if .Values.grpc.enabled }}
- {name: AXON_GRPC_PORT, value: "8001"}
{{- end }}
{{- if .Values.apiKeys.secret }}
- {name: AXON_API_KEYS_FILE, value: {{ printf "/etc/axon/keys/%s" .Values.apiKeys.key | quote }}}
{{- end }}
{{- if .Values.tls.secret }}
- {name: AXON_TLS_CERTIFICATE, value: /etc/axon/tls/tls.crt}
- {name: AXON_TLS_KEY, value: /etc/axon/tls/tls.key}
{{- end }}
{{- range $name, $value := .Values.settings }}
{{- if not (kindIs "invalid" $value) }}
- {name: {{ $name }}, value: {{ include "axon.text" $value | quote }}}
{{- end }}
{{- end }}
{{- with .Values.extraEnv }}
{{ toYaml . }}
{{- end }}
{{- end }}

{{- define "axon.container" -}}
image: {{ include "axon.image" . | quote }}
imagePullPolicy: {{ .Values.image.pullPolicy }}
ports:
{{- if eq .Values.workload "InferenceService" }}
  - {name: {{ ternary "h2c" "http1" .Values.grpc.enabled }}, containerPort: {{ ternary 8001 8080 .Values.grpc.enabled }}, protocol: TCP}
{{- else }}
  - {name: http, containerPort: 8000, protocol: TCP}
  {{- if .Values.grpc.enabled }}
  - {name: grpc, containerPort: 8001, protocol: TCP}
  {{- end }}
{{- end }}
env:
  {{- include "axon.env" . | nindent 2 }}
{{- if or .Values.envFrom (and (eq .Values.store.kind "bucket") .Values.store.bucket.secret) }}
envFrom:
  {{- if and (eq .Values.store.kind "bucket") .Values.store.bucket.secret }}
  - secretRef: {name: {{ .Values.store.bucket.secret }}}
  {{- end }}
  {{- with .Values.envFrom }}
  {{- toYaml . | nindent 2 }}
  {{- end }}
{{- end }}
{{- $port := ternary 8080 "http" (eq .Values.workload "InferenceService") }}
# A start may take two minutes: it loads and tests every model. Live means that the process runs.
startupProbe:
  httpGet: {path: /health/live, port: {{ $port }}, scheme: {{ include "axon.scheme" . }}}
  periodSeconds: 2
  timeoutSeconds: 3
  failureThreshold: 60
livenessProbe:
  httpGet: {path: /health/live, port: {{ $port }}, scheme: {{ include "axon.scheme" . }}}
  periodSeconds: 10
  timeoutSeconds: 3
  failureThreshold: 3
readinessProbe:
  httpGet: {path: /health/ready, port: {{ $port }}, scheme: {{ include "axon.scheme" . }}}
  periodSeconds: 2
  timeoutSeconds: 2
  failureThreshold: 1
{{- if gt (int .Values.preStopSeconds) 0 }}
lifecycle:
  preStop: {sleep: {seconds: {{ int .Values.preStopSeconds }}}}
{{- end }}
securityContext:
  runAsNonRoot: true
  runAsUser: 10001 # a runtime of KServe has no security context of a pod
  runAsGroup: 10001
  readOnlyRootFilesystem: true
  allowPrivilegeEscalation: false
  capabilities: {drop: [ALL]}
  seccompProfile: {type: RuntimeDefault}
{{- with .Values.resources }}
resources:
  {{- toYaml . | nindent 2 }}
{{- end }}
volumeMounts:
  - {name: tmp, mountPath: /tmp}
  {{- if eq (include "axon.hasCache" .) "true" }}
  - {name: cache, mountPath: /cache}
  {{- end }}
  {{- if eq .Values.workload "Deployment" }}
  {{- if or (eq .Values.store.kind "claim") (and (eq .Values.store.kind "image") .Values.store.image.reference) }}
  - {name: models, mountPath: {{ .Values.store.path }}, readOnly: true}
  {{- end }}
  {{- end }}
  {{- if .Values.apiKeys.secret }}
  - {name: keys, mountPath: /etc/axon/keys, readOnly: true}
  {{- end }}
  {{- if .Values.tls.secret }}
  - {name: tls, mountPath: /etc/axon/tls, readOnly: true}
  {{- end }}
  {{- with .Values.extraVolumeMounts }}
  {{- toYaml . | nindent 2 }}
  {{- end }}
{{- end }}

{{- define "axon.volumes" -}}
- name: tmp
  emptyDir: {sizeLimit: {{ .Values.temporary.size }}}
{{- if eq (include "axon.hasCache" .) "true" }}
- name: cache
  emptyDir: {sizeLimit: {{ .Values.store.bucket.cacheSize }}}
{{- end }}
{{- if eq .Values.workload "Deployment" }}
{{- if eq .Values.store.kind "claim" }}
- name: models
  persistentVolumeClaim: {claimName: {{ .Values.store.claim.name }}, readOnly: true}
{{- else if and (eq .Values.store.kind "image") .Values.store.image.reference }}
- name: models
  image: {reference: {{ .Values.store.image.reference | quote }}, pullPolicy: {{ .Values.store.image.pullPolicy }}}
{{- end }}
{{- end }}
{{- if .Values.apiKeys.secret }}
- name: keys
  # The folder and not the file alone, so that a change of the Secret reaches the pod.
  secret: {secretName: {{ .Values.apiKeys.secret }}, defaultMode: 288, items: [{key: {{ .Values.apiKeys.key }}, path: {{ .Values.apiKeys.key }}}]}
{{- end }}
{{- if .Values.tls.secret }}
- name: tls
  secret: {secretName: {{ .Values.tls.secret }}, defaultMode: 288}
{{- end }}
{{- with .Values.extraVolumes }}
{{ toYaml . }}
{{- end }}
{{- end }}

{{- /* The time series of this release. Prometheus's operator adds the labels `namespace` and `service`. */ -}}
{{- define "axon.series" -}}
namespace="{{ .Release.Namespace }}",service="{{ include "axon.name" . }}"
{{- end }}

{{- /* Busy processes of a kind that one replica may have on average. Arguments: the chart's scope, name and default of the setting. */ -}}
{{- define "axon.busyProcesses" -}}
{{- $scope := index . 0 }}
{{- $processes := index $scope.Values.settings (index . 1) | default 1 }}
{{- if eq (index . 1) "AXON_WORKERS" }}
{{- /* A server has so many workers for each of its GPUs. */ -}}
{{- $processes = mul $processes (max 1 (index ($scope.Values.resources.limits | default dict) "nvidia.com/gpu" | default 1 | int64)) }}
{{- end }}
{{- printf "%.3f" (mulf $scope.Values.autoscaling.busyShare $processes) }}
{{- end }}
