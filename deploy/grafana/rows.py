"""The rows and panels of the dashboard: titles, PromQL queries, explanations.

docs/operations.md describes the metrics, and deploy/prometheus/axon.rules.yml makes the recorded series (`job:…`).
"""

from __future__ import annotations

from deploy.grafana.panels import MODEL, RATE, SERVER, Panel, Query, burn, quantiles, rate, stat

ROWS: tuple[tuple[str, tuple[Panel, ...]], ...] = (
    (
        "Now",
        (
            stat(
                "Requests a second",
                f"sum(rate(axon_requests_total{{{MODEL}}}{RATE}))",
                "Predictions of any status.",
                "reqps",
            ),
            stat(
                "Failed",
                f'(sum(rate(axon_requests_total{{{MODEL}, status=~"5.."}}{RATE})) or vector(0))'
                f" / sum(rate(axon_requests_total{{{MODEL}}}{RATE}))",
                "Share of the requests that get a status 5xx. The objective is 0.1 %.",
                "percentunit",
                limit=0.001,
            ),
            stat(
                "p99",
                quantiles("axon_request_seconds", MODEL)[-1].expr,
                "Time within which 99 % of the requests are answered. The objective is 0.1 s.",
                "s",
                limit=0.1,
            ),
            stat("Rows a second", f"sum(rate(axon_rows_total{{{MODEL}}}{RATE}))", "Rows predicted."),
            stat("Workers", f"sum(axon_worker_up{{{SERVER}}})", "Workers that are ready."),
            stat(
                "Alerts",
                'count(ALERTS{alertname=~"Axon.+", alertstate="firing"}) or vector(0)',
                "Alerts that fire.",
                limit=1,
            ),
        ),
    ),
    (
        "Alerts and objectives",
        (
            Panel(
                "Alerts that fire or are about to",
                (Query('ALERTS{alertname=~"Axon.+"}'),),
                "The annotation runbook of each alert leads to its entry in docs/operations.md.",
                "table",
                hidden=("Time", "Value", "__name__", "job"),
            ),
            Panel(
                "Burn rate of the error budget",
                burn("failed", "0.001"),
                "1 spends the budget of 30 days in 30 days. AxonErrorBudgetBurnsFast pages from 14.4 over 1 hour and "
                "from 6 over 6 hours.",
            ),
            Panel(
                "Burn rate of the latency budget",
                burn("slow", "0.01"),
                "The same for requests that take longer than 0.1 s.",
            ),
        ),
    ),
    (
        "Requests",
        (
            Panel(
                "Requests by status",
                (Query(rate("axon_requests_total", MODEL, "status"), "{{status}}"),),
                "429: refused, because the queue is full. 499: the client hung up. 504: the deadline passed.",
                unit="reqps",
                is_stacked=True,
            ),
            Panel(
                "Requests by model",
                (Query(rate("axon_requests_total", MODEL, "model, version"), "{{model}}@{{version}}"),),
                "Requests that reached no model have an empty name.",
                unit="reqps",
                is_stacked=True,
            ),
            Panel(
                "Rows by model",
                (Query(rate("axon_rows_total", MODEL, "model, version"), "{{model}}@{{version}}"),),
                "Rows predicted a second.",
                is_stacked=True,
            ),
            Panel(
                "Latency",
                quantiles("axon_request_seconds", MODEL),
                "From the arrival of a request to its answer.",
                unit="s",
            ),
            Panel(
                "Latency by model (p99)",
                quantiles("axon_request_seconds", MODEL, "model"),
                "From the arrival of a request to its answer.",
                unit="s",
            ),
            Panel(
                "Shares of the requests",
                (
                    Query('job:axon_requests_failed:ratio_rate5m{job=~"$job"}', "{{job}}: failed"),
                    Query('job:axon_requests_refused:ratio_rate5m{job=~"$job"}', "{{job}}: refused"),
                    Query('job:axon_requests_slow:ratio_rate5m{job=~"$job"}', "{{job}}: longer than 0.1 s"),
                ),
                "Over five minutes: status 5xx, status 429, and answers that took longer than 0.1 s.",
                unit="percentunit",
            ),
        ),
    ),
    (
        "Queue and workers",
        (
            Panel(
                "Rows that wait",
                (Query(f"sum by (instance) (axon_queue_rows{{{SERVER}}})", "{{instance}}"),),
                "Beyond AXON_MAX_QUEUE_ROWS of a model, its requests get 429.",
            ),
            Panel(
                "Wait for a worker",
                quantiles("axon_queue_wait_seconds", MODEL),
                "From the arrival of a request to the departure of its rows for a worker.",
                unit="s",
            ),
            Panel(
                "Forward pass by model (p99)",
                quantiles("axon_inference_seconds", MODEL, "model"),
                "Time of one forward pass in a worker. AXON_HANG_SECONDS must be well above it.",
                unit="s",
            ),
            Panel(
                "Rows of a batch by model",
                (
                    Query(
                        f"{rate('axon_batch_rows_sum', MODEL, 'model')}"
                        f" / {rate('axon_batch_rows_count', MODEL, 'model')}",
                        "{{model}}",
                    ),
                ),
                "Mean number of rows of one forward pass. Batches grow under load.",
            ),
            Panel(
                "Workers that are ready",
                (Query(f"sum by (instance) (axon_worker_up{{{SERVER}}})", "{{instance}}"),),
                "Readiness is 503 where none is.",
            ),
            Panel(
                "Workers and API processes replaced, batches sent again",
                (
                    Query(
                        f"sum by (instance) (increase(axon_worker_starts_total{{{SERVER}}}[1h]))",
                        "{{instance}}: workers replaced",
                    ),
                    Query(
                        f"sum by (instance) (increase(axon_api_process_starts_total{{{SERVER}}}[1h]))",
                        "{{instance}}: API processes replaced",
                    ),
                    Query(
                        f"sum by (instance) (increase(axon_batches_resent_total{{{SERVER}}}[1h]))",
                        "{{instance}}: batches sent again",
                    ),
                ),
                "In the hour before. A batch whose worker died is sent to another. "
                "An API process that dies takes its open requests along.",
            ),
            Panel(
                "Longest hold of an event loop",
                (
                    Query(
                        f"max by (instance, process) (axon_event_loop_longest_hold_seconds{{{SERVER}}})",
                        "{{instance}} {{process}}",
                    ),
                ),
                "Longest time of the last minute or two in which an API process served no connection.",
                unit="s",
            ),
            Panel(
                "Connections refused",
                (Query(rate("axon_connections_refused_total", SERVER, "instance"), "{{instance}}"),),
                "Connections a second beyond AXON_MAX_CONNECTIONS.",
            ),
            Panel(
                "Log lines dropped",
                (Query(rate("axon_log_lines_dropped_total", SERVER, "instance"), "{{instance}}"),),
                "Lines a second that nobody read in time.",
            ),
        ),
    ),
    (
        "Drift",
        (
            Panel(
                "Columns and predictions that moved beyond chance",
                (
                    Query(
                        f"max by (model, version) (axon_drift_flagged{{{MODEL}}})",
                        "{{model}}@{{version}}",
                    ),
                ),
                "In the last complete window. GET /models/NAME@VERSION/drift names them.",
            ),
            Panel(
                "Columns: stability index above its noise (top 10)",
                (
                    Query(
                        "topk(10, max by (model, version, feature)"
                        f" (axon_drift_psi{{{MODEL}}} - axon_drift_psi_noise{{{MODEL}}}))",
                        "{{model}}@{{version}} {{feature}}",
                    ),
                ),
                "Population stability index of the last window, less the index to expect without drift.",
            ),
            Panel(
                "Predictions: stability index",
                (
                    Query(
                        f"max by (model, version, prediction) (axon_drift_prediction_psi{{{MODEL}}})",
                        "{{model}}@{{version}} {{prediction}}",
                    ),
                ),
                "Population stability index of what the model answered in the last window.",
            ),
            Panel(
                "Gaps, unknown categories, numbers out of range (top 10)",
                (
                    Query(
                        f"topk(10, max by (model, version, feature, share) (axon_drift_share{{{MODEL}}}))",
                        "{{model}}@{{version}} {{feature}}: {{share}}",
                    ),
                ),
                "Shares of the rows of the last window.",
                unit="percentunit",
            ),
            Panel(
                "Unknown categories",
                (Query(rate("axon_unknown_categories_total", MODEL, "model, version"), "{{model}}@{{version}}"),),
                "Cells a second with a category that training did not see.",
            ),
            Panel(
                "Rows of the last window",
                (
                    Query(
                        f"max by (model, version) (axon_drift_window_rows{{{MODEL}}})",
                        "{{model}}@{{version}}",
                    ),
                ),
                "Rows that were looked at. A window with fewer than 200 rows has no verdict.",
            ),
        ),
    ),
    (
        "Models and memory",
        (
            Panel(
                "Models that are served, and their learned parameters",
                (
                    Query(
                        f"max by (model, version, task, digest) (axon_model_info{{{MODEL}}}"
                        " * on (job, instance, model, version) group_left ()"
                        f" axon_model_parameters{{{MODEL}}})",
                    ),
                ),
                "Versions that are ready.",
                "table",
                hidden=("Time",),
            ),
            Panel(
                "Problems in the store",
                (Query(f"max by (instance) (axon_store_problems{{{SERVER}}})", "{{instance}}"),),
                "problems in GET /models names them.",
            ),
            Panel(
                "Memory by process",
                (
                    Query(
                        f"sum by (instance, process) (axon_process_resident_bytes{{{SERVER}}})",
                        "{{instance}} {{process}}",
                    ),
                ),
                "Memory in RAM, with what a process shares with others.",
                unit="bytes",
            ),
            Panel(
                "Versions in memory",
                (
                    Query(
                        f"sum by (instance, process) (axon_versions_in_memory{{{SERVER}}})",
                        "{{instance}} {{process}}",
                    ),
                ),
                "Networks of a worker, columns of an API process.",
            ),
            Panel(
                "Bytes of the versions in memory",
                (
                    Query(
                        f"sum by (instance, process) (axon_version_bytes{{{SERVER}}})",
                        "{{instance}} {{process}}",
                    ),
                ),
                "AXON_MODEL_MEMORY_BYTES limits them in each process.",
                unit="bytes",
            ),
            Panel(
                "Versions that come into memory and leave it",
                (
                    Query(rate("axon_version_loads_total", SERVER, "instance"), "{{instance}}: loads"),
                    Query(rate("axon_version_evictions_total", SERVER, "instance"), "{{instance}}: evictions"),
                ),
                "A second. If evictions go on, the models do not fit into memory.",
            ),
        ),
    ),
    (
        "Shadows and reasons",
        (
            Panel(
                "Rows of shadows by outcome",
                (
                    Query(
                        rate("axon_shadow_rows_total", MODEL, "model, shadow, outcome"),
                        "{{model}}, shadow {{shadow}}: {{outcome}}",
                    ),
                ),
                "Rows a second that were copied to a shadow.",
                is_stacked=True,
            ),
            Panel(
                "Differences of shadows (p99)",
                quantiles("axon_shadow_difference", MODEL, "model, version, shadow"),
                "Difference of a probability, or of a value in standard deviations of the target.",
            ),
            Panel(
                "Explanations",
                (
                    Query(rate("axon_explanation_requests_total", MODEL, "status"), "requests, status {{status}}"),
                    Query(rate("axon_explained_rows_total", MODEL, "model"), "rows of {{model}}"),
                ),
                "Requests for reasons, and rows explained, a second.",
            ),
        ),
    ),
)
