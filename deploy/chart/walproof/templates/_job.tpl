{{/* What the pod of a job refers to, as JSON: {secrets, claims, others: {KIND: volumes}}, each a
     list as CEL writes it. */}}
{{- define "walproof.jobReferences" -}}
{{- $secrets := list }}
{{- $claims := list }}
{{- $others := dict }}
{{- range (include "walproof.volumes" . | fromYamlArray) }}
{{- $volume := . }}
{{- range $kind, $source := omit . "name" }}
{{- if eq $kind "secret" }}
{{- $secrets = append $secrets $source.secretName }}
{{- else if eq $kind "persistentVolumeClaim" }}
{{- $claims = append $claims $source.claimName }}
{{- else if eq $kind "projected" }}
{{- range $source.sources }}
{{- if .secret }}{{ $secrets = append $secrets .secret.name }}{{ end }}
{{- end }}
{{- else if not (has $kind (list "emptyDir" "configMap" "downwardAPI")) }}
{{- $_ := set $others $kind (append (get $others $kind | default list) $volume.name) }}
{{- end }}
{{- end }}
{{- end }}
{{- range .Values.env }}
{{- with (.valueFrom | default dict).secretKeyRef }}{{ $secrets = append $secrets .name }}{{ end }}
{{- end }}
{{- $written := dict }}
{{- range $kind, $names := $others }}
{{- $_ := set $written $kind (include "walproof.celList" $names) }}
{{- end }}
{{- dict "secrets" (include "walproof.celList" $secrets) "claims" (include "walproof.celList" $claims) "others" $written | toJson }}
{{- end }}

{{- define "walproof.celList" -}}
{{- $quoted := list }}
{{- range (. | uniq | sortAlpha) }}{{ $quoted = append $quoted (printf "'%s'" .) }}{{ end }}
{{- printf "[%s]" (join ", " $quoted) }}
{{- end }}

{{/* The pod of a job, for `daemon.kubernetes.template`. */}}
{{- define "walproof.jobPod" -}}
apiVersion: v1
kind: PodTemplate
metadata:
  name: {{ include "walproof.fullname" . }}-job
template:
  metadata:
    labels:
      {{- include "walproof.selectorLabels" . | nindent 6 }}
      app.kubernetes.io/component: job
      {{- with .Values.podLabels }}
      {{- toYaml . | nindent 6 }}
      {{- end }}
    {{- with .Values.podAnnotations }}
    annotations:
      {{- toYaml . | nindent 6 }}
    {{- end }}
  spec:
    serviceAccountName: {{ include "walproof.account" . }}
    # The account itself gives none: a job reads Secrets and makes scratch namespaces as the daemon does.
    automountServiceAccountToken: true
    enableServiceLinks: false
    {{- with .Values.imagePullSecrets }}
    imagePullSecrets:
      {{- toYaml . | nindent 6 }}
    {{- end }}
    {{- with .Values.priorityClassName }}
    priorityClassName: {{ . }}
    {{- end }}
    securityContext:
      {{- include "walproof.podSecurity" . | nindent 6 }}
    containers:
      - name: walproof
        image: {{ include "walproof.image" . }}
        imagePullPolicy: {{ .Values.image.pullPolicy }}
        {{- with .Values.command }}
        command:
          {{- toYaml . | nindent 10 }}
        {{- end }}
        env:
          # The daemon gives the command, so what logs look like stands here.
          - {name: WALPROOF_LOG, value: {{ .Values.log.level | quote }}}
          - {name: WALPROOF_LOG_FORMAT, value: {{ .Values.log.format | quote }}}
          {{- include "walproof.environment" . | nindent 10 }}
        securityContext:
          {{- include "walproof.containerSecurity" . | nindent 10 }}
        resources:
          {{- toYaml .Values.executor.resources | nindent 10 }}
        volumeMounts:
          - {name: state, mountPath: /var/lib/walproof}
          {{- include "walproof.mounts" . | nindent 10 }}
    volumes:
      - {name: state, emptyDir: {sizeLimit: {{ .Values.executor.scratch }}}}
      - {name: tmp, emptyDir: {sizeLimit: {{ .Values.executor.scratch }}}}
      {{- include "walproof.volumes" . | nindent 6 }}
    {{- with .Values.executor.nodeSelector }}
    nodeSelector:
      {{- toYaml . | nindent 6 }}
    {{- end }}
    {{- with .Values.executor.tolerations }}
    tolerations:
      {{- toYaml . | nindent 6 }}
    {{- end }}
    {{- with .Values.executor.affinity }}
    affinity:
      {{- toYaml . | nindent 6 }}
    {{- end }}
{{- end }}
