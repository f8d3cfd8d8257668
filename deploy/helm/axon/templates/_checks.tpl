{{- /* Values that are sound each by itself, and do not fit each other. Each refusal names the value and the remedy. */ -}}
{{- define "axon.checks" -}}
{{- $values := .Values }}
{{- $drain := $values.settings.AXON_DRAIN_SECONDS }}
{{- $shutdown := $values.settings.AXON_SHUTDOWN_SECONDS }}
{{- if or (kindIs "invalid" $drain) (kindIs "invalid" $shutdown) }}
{{- fail "settings.AXON_DRAIN_SECONDS and settings.AXON_SHUTDOWN_SECONDS must be set: the grace period of the pod is computed from them." }}
{{- end }}
{{- $least := add (ceil $drain) $shutdown $values.preStopSeconds 1 }}
{{- if lt (int64 (include "axon.grace" .)) $least }}
{{- fail (printf "gracePeriodSeconds is %v, and the server takes up to %d seconds to stop (preStopSeconds, AXON_DRAIN_SECONDS, AXON_SHUTDOWN_SECONDS and 1). Raise it above that, or leave it null." $values.gracePeriodSeconds $least) }}
{{- end }}
{{- if and (eq $values.workload "Deployment") (lt (float64 $drain) 5.0) }}
{{- fail (printf "settings.AXON_DRAIN_SECONDS is %v, and Kubernetes takes seconds to withdraw an endpoint from all nodes. Set it to 5 or more." $drain) }}
{{- end }}
{{- if eq $values.workload "InferenceService" }}
{{- if not $values.kserve.storageUri }}
{{- fail "kserve.storageUri is empty: name the store that KServe copies into the pod, such as s3://bucket/store." }}
{{- end }}
{{- if ne $values.autoscaling.kind "none" }}
{{- fail "autoscaling.kind must be none with workload: InferenceService, because KServe scales the pods itself (autoscaling.minReplicas and maxReplicas hold there too)." }}
{{- end }}
{{- if or $values.monitoring.serviceMonitor.enabled $values.monitoring.rules.enabled }}
{{- fail "monitoring.serviceMonitor.enabled and monitoring.rules.enabled must be false with workload: InferenceService: KServe names the pods and their Services, so no target would have the job axon, which the rules are about. The pods have the annotations prometheus.kserve.io for KServe's own scraping." }}
{{- end }}
{{- if $values.tls.secret }}
{{- fail "tls.secret must be empty with workload: InferenceService: KServe's gateway ends TLS, and its proxy speaks plain HTTP to the pod." }}
{{- end }}
{{- else if and (eq $values.store.kind "bucket") (not $values.store.bucket.url) }}
{{- fail "store.bucket.url is empty: name the bucket, such as s3://bucket/store, or choose another store.kind." }}
{{- end }}
{{- if and (eq $values.workload "Deployment") $values.networkPolicy.enabled (not $values.networkPolicy.egress) }}
{{- $open := ternary "^https://[^:/]+(:443)?(/|$)" "^$" (eq $values.store.kind "bucket") }}
{{- range $values.extraEnv }}
{{- if and (regexMatch "^(OTEL_EXPORTER_OTLP_.*ENDPOINT|AWS_ENDPOINT_URL.*|OTEL_EXPORTER_OTLP_ENDPOINT)$" .name) (.value | default "") (not (regexMatch $open (.value | default ""))) }}
{{- fail (printf "extraEnv has %s %s, which the network policy does not let the pods call. Name it in networkPolicy.egress, or set networkPolicy.enabled to false." .name .value) }}
{{- end }}
{{- end }}
{{- end }}
{{- if gt (int $values.autoscaling.minReplicas) (int $values.autoscaling.maxReplicas) }}
{{- fail (printf "autoscaling.minReplicas (%v) must not exceed autoscaling.maxReplicas (%v)." $values.autoscaling.minReplicas $values.autoscaling.maxReplicas) }}
{{- end }}
{{- if and (eq $values.autoscaling.kind "keda") (not $values.autoscaling.prometheus) }}
{{- fail "autoscaling.prometheus is empty: KEDA needs the address of Prometheus, such as http://prometheus-operated.monitoring:9090." }}
{{- end }}
{{- if and (eq $values.autoscaling.kind "hpa") (ne (float64 $values.autoscaling.queueWaitSeconds) 0.1) }}
{{- fail (printf "autoscaling.queueWaitSeconds is %v, and the rule of deploy/prometheus/adapter.yml cuts waits at 0.2 s, twice the default: with another value the wait adds no pod, or too many. Leave it at 0.1, or set autoscaling.kind to keda." $values.autoscaling.queueWaitSeconds) }}
{{- end }}
{{- if and (ne $values.autoscaling.kind "none") (not $values.monitoring.serviceMonitor.enabled) (not $values.autoscaling.scrapedOtherwise) }}
{{- fail "autoscaling needs the server's metrics in Prometheus: set monitoring.serviceMonitor.enabled, or autoscaling.scrapedOtherwise if Prometheus finds the pods in another way and adds the labels namespace and service." }}
{{- end }}
{{- $interval := $values.monitoring.serviceMonitor.interval }}
{{- if and (ne $values.autoscaling.kind "none") $values.monitoring.serviceMonitor.enabled }}
{{- $unit := regexFind "(ms|s|m)$" $interval }}
{{- $seconds := mulf (trimSuffix $unit $interval | float64) (get (dict "ms" 0.001 "s" 1.0 "m" 60.0) $unit) }}
{{- if gt $seconds 30.0 }}
{{- fail (printf "monitoring.serviceMonitor.interval is %s, and autoscaling looks at the last minute, which needs two scrapes at least. Set it to 30s or less." $interval) }}
{{- end }}
{{- end }}
{{- with ($values.resources.limits | default dict).cpu }}
{{- $cores := ternary (divf (trimSuffix "m" (toString .)) 1000) (float64 .) (hasSuffix "m" (toString .)) }}
{{- $needed := add ($values.settings.AXON_WORKERS | default 1 | int64) ($values.settings.AXON_API_PROCESSES | default 1 | int64) }}
{{- if and (ne $values.autoscaling.kind "none") (lt $cores (float64 $needed)) }}
{{- fail (printf "resources.limits.cpu is %v, and the pod has %d processes that each use a core: throttled processes never look busy enough to scale out. Remove the limit, or raise it to %d." . $needed $needed) }}
{{- end }}
{{- end }}
{{- if and $values.monitoring.serviceMonitor.enabled $values.apiKeys.secret (not $values.monitoring.serviceMonitor.authorization.secret) }}
{{- fail "monitoring.serviceMonitor.authorization.secret is empty, and with API keys Prometheus may not scrape without one: name a Secret with a key of scope read." }}
{{- end }}
{{- if and $values.service.headless (ne $values.service.type "ClusterIP") }}
{{- fail (printf "service.headless is true, and Kubernetes has no headless Service of type %s. Set service.type to ClusterIP, or service.headless to false." $values.service.type) }}
{{- end }}
{{- range $label, $value := (include "axon.labels" . | fromYaml) }}
{{- if hasKey $values.podLabels $label }}
{{- fail (printf "podLabels has %s, which the chart sets: services and policies find the pods by its labels. Choose another label." $label) }}
{{- end }}
{{- end }}
{{- $set := dict }}
{{- range (include "axon.env" . | fromYamlArray) }}
{{- if hasKey $set .name }}
{{- fail (printf "The variable %s is set twice. Remove it from extraEnv, and use the chart's own value for it." .name) }}
{{- end }}
{{- $_ := set $set .name true }}
{{- end }}
{{- end }}
