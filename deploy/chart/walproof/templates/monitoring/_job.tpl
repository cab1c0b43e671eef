{{/* The scrape job: what tells installations apart that one Prometheus watches. */}}
{{- define "walproof.monitoringJob" -}}
{{ .Values.monitoring.job | default (include "walproof.fullname" .) }}
{{- end }}
