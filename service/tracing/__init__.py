"""OpenTelemetry spans of predictions; used only if `AXON_TRACES` is on."""
