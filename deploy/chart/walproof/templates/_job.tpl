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
  spec:
    serviceAccountName: {{ include "walproof.account" . }}
    {{- with .Values.imagePullSecrets }}
    imagePullSecrets:
      {{- toYaml . | nindent 6 }}
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
{{- end }}
