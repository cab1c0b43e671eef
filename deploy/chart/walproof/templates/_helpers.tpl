{{/* Names. */}}
{{- define "walproof.name" -}}
{{- default .Chart.Name .Values.nameOverride | trunc 40 | trimSuffix "-" }}
{{- end }}

{{- define "walproof.fullname" -}}
{{- if .Values.fullnameOverride }}
{{- .Values.fullnameOverride | trunc 40 | trimSuffix "-" }}
{{- else if contains (include "walproof.name" .) .Release.Name }}
{{- .Release.Name | trunc 40 | trimSuffix "-" }}
{{- else }}
{{- printf "%s-%s" .Release.Name (include "walproof.name" .) | trunc 40 | trimSuffix "-" }}
{{- end }}
{{- end }}

{{- define "walproof.account" -}}
{{- if .Values.serviceAccount.create }}
{{- default (include "walproof.fullname" .) .Values.serviceAccount.name }}
{{- else }}
{{- required "serviceAccount.name: which one, if the chart makes none?" .Values.serviceAccount.name }}
{{- end }}
{{- end }}

{{/* The ClusterRole that walproof binds itself to in scratch namespaces: the chart's own, else one
     that was made apart, else none: then what a drill does is granted in all namespaces. */}}
{{- define "walproof.scratchRole" -}}
{{- if .Values.rbac.create }}
{{- include "walproof.fullname" . }}-scratch
{{- else }}
{{- .Values.rbac.scratchRole }}
{{- end }}
{{- end }}

{{/* Labels. */}}
{{- define "walproof.selectorLabels" -}}
app.kubernetes.io/name: {{ include "walproof.name" . | quote }}
app.kubernetes.io/instance: {{ .Release.Name | quote }}
{{- end }}

{{- define "walproof.labels" -}}
helm.sh/chart: {{ printf "%s-%s" .Chart.Name .Chart.Version | replace "+" "_" }}
{{ include "walproof.selectorLabels" . }}
app.kubernetes.io/version: {{ .Chart.AppVersion | quote }}
app.kubernetes.io/managed-by: {{ .Release.Service }}
{{- end }}

{{- define "walproof.image" -}}
{{- with .Values.image }}
{{- if .digest }}{{ .repository }}@{{ .digest }}{{ else }}{{ .repository }}:{{ default $.Chart.AppVersion .tag }}{{ end }}
{{- end }}
{{- end }}

{{/* What may be written, and where: everything else of the file system may only be read. */}}
{{- define "walproof.containerSecurity" -}}
allowPrivilegeEscalation: false
capabilities: {drop: [ALL]}
privileged: false
readOnlyRootFilesystem: true
runAsNonRoot: true
seccompProfile: {type: RuntimeDefault}
{{- end }}

{{- define "walproof.podSecurity" -}}
runAsNonRoot: true
seccompProfile: {type: RuntimeDefault}
{{- with .Values.podSecurityContext }}
{{ toYaml . }}
{{- end }}
{{- end }}

{{- define "walproof.environment" -}}
- {name: HOME, value: /var/lib/walproof}
- {name: TMPDIR, value: /tmp}
{{- with .Values.env }}
{{ toYaml . }}
{{- end }}
{{- end }}

{{/* Mounts that a daemon and a job's pod have in common. */}}
{{- define "walproof.mounts" -}}
- {name: tmp, mountPath: /tmp}
{{- if eq .Values.state.kind "postgres" }}
- {name: state-password, mountPath: /run/secrets/walproof/state, readOnly: true}
{{- if .Values.state.postgres.caSecret.name }}
- {name: state-ca, mountPath: /run/secrets/walproof/state-ca, readOnly: true}
{{- end }}
{{- end }}
{{- with .Values.volumeMounts }}
{{ toYaml . }}
{{- end }}
{{- end }}

{{- define "walproof.volumes" -}}
{{- if eq .Values.state.kind "postgres" }}
- name: state-password
  secret:
    secretName: {{ .Values.state.postgres.passwordSecret.name }}
    defaultMode: 288 # 0440
    items: [{key: {{ .Values.state.postgres.passwordSecret.key }}, path: password}]
{{- with .Values.state.postgres.caSecret }}
{{- if .name }}
- name: state-ca
  secret:
    secretName: {{ .name }}
    items: [{key: {{ .key }}, path: ca.crt}]
{{- end }}
{{- end }}
{{- end }}
{{- with .Values.volumes }}
{{ toYaml . }}
{{- end }}
{{- end }}

{{/* The claim for the files beside a state in PostgreSQL; empty where there is none. */}}
{{- define "walproof.filesClaim" -}}
{{- if and (eq .Values.state.kind "postgres") .Values.state.files.enabled }}
{{- default (printf "%s-files" (include "walproof.fullname" .)) .Values.state.files.existingClaim }}
{{- end }}
{{- end }}

{{/* The Secrets that the configuration names, as `namespace/name` lines: whatever holds
     {kubernetes: {namespace, name, key}}, wherever it stands. */}}
{{- define "walproof.secretReferences" -}}
{{- if kindIs "map" . }}
{{- with .kubernetes }}
{{- if and (kindIs "map" .) (hasKey . "key") }}
{{ required "a Secret's namespace" .namespace }}/{{ required "a Secret's name" .name }}
{{- end }}
{{- end }}
{{- range $key, $value := . }}{{ include "walproof.secretReferences" $value }}{{ end }}
{{- else if kindIs "slice" . }}
{{- range . }}{{ include "walproof.secretReferences" . }}{{ end }}
{{- end }}
{{- end }}

{{/* {namespace: [names]} of all Secrets that may be read, as JSON. */}}
{{- define "walproof.secrets" -}}
{{- $all := dict }}
{{- range (include "walproof.secretReferences" .Values.config | trim | splitList "\n") }}
{{- $parts := splitList "/" (trim .) }}
{{- if eq (len $parts) 2 }}
{{- $namespace := first $parts }}
{{- $_ := set $all $namespace (append (get $all $namespace | default list) (last $parts)) }}
{{- end }}
{{- end }}
{{- range .Values.rbac.secrets }}
{{- $_ := set $all .namespace (concat (get $all .namespace | default list) .names) }}
{{- end }}
{{- $sorted := dict }}
{{- range $namespace, $names := $all }}
{{- $_ := set $sorted $namespace ($names | uniq | sortAlpha) }}
{{- end }}
{{- toJson $sorted }}
{{- end }}

{{/* What the controller does with its resources. */}}
{{- define "walproof.controllerRules" -}}
- apiGroups: [walproof.dev]
  resources: [protectedclusters]
  verbs: [list, watch]
- apiGroups: [walproof.dev]
  resources: [recoverydrills, recoveryrequests]
  verbs: [list, watch, patch]
- apiGroups: [walproof.dev]
  resources: [protectedclusters/status, recoverydrills/status, recoveryrequests/status]
  verbs: [patch]
- apiGroups: [events.k8s.io]
  resources: [events]
  verbs: [create]
# Which Clusters there are, where they archive, and which come and go.
- apiGroups: [postgresql.cnpg.io]
  resources: [clusters]
  verbs: [list, watch]
- apiGroups: [barmancloud.cnpg.io]
  resources: [objectstores]
  verbs: [list, watch]
{{- end }}

{{/* What contradicts itself is said before anything is made. */}}
{{- define "walproof.check" -}}
{{- $postgres := eq .Values.state.kind "postgres" }}
{{- if and (not $postgres) (gt (int .Values.replicas) 1) }}
{{- fail (printf "replicas: %d needs state.kind: postgres; a SQLite state is for one daemon" (int .Values.replicas)) }}
{{- end }}
{{- if $postgres }}
{{- if not .Values.state.postgres.url }}
{{- fail "state.postgres.url: where is the database? postgres://walproof@HOST:5432/walproof?sslmode=verify-full" }}
{{- end }}
{{- if regexMatch "^postgres(ql)?://[^/@]*:[^/@]*@" .Values.state.postgres.url }}
{{- fail "state.postgres.url: a password does not stand in the URL; put it into a Secret and name that under state.postgres.passwordSecret" }}
{{- end }}
{{- if not .Values.state.postgres.passwordSecret.name }}
{{- fail "state.postgres.passwordSecret.name: which Secret holds the password?" }}
{{- end }}
{{- if and .Values.state.postgres.caSecret.name (contains "sslrootcert=" .Values.state.postgres.url) }}
{{- fail "state.postgres: either caSecret, or sslrootcert in the URL" }}
{{- end }}
{{- else if .Values.state.postgres.url }}
{{- fail "state.postgres.url is given, and state.kind is sqlite: which is meant?" }}
{{- end }}
{{- if .Values.state.files.enabled }}
{{- if not $postgres }}
{{- fail "state.files is for state.kind: postgres; with sqlite the files lie on its volume" }}
{{- end }}
{{- if and (gt (int .Values.replicas) 1) (ne .Values.state.files.accessMode "ReadWriteMany") }}
{{- fail (printf "replicas: %d share state.files, which needs accessMode: ReadWriteMany" (int .Values.replicas)) }}
{{- end }}
{{- end }}
{{- if and $postgres (not .Values.state.files.enabled) }}
{{- range .Values.config.schedules }}
{{- if eq .job "report" }}
{{- fail (printf "config.schedules, %s: its reports would go with the pod; state.files.enabled gives them a volume" .name) }}
{{- end }}
{{- end }}
{{- end }}
{{- if and (eq .Values.executor.kind "kubernetes") (not $postgres) }}
{{- fail "executor.kind: kubernetes needs state.kind: postgres; its Jobs cannot reach a SQLite file" }}
{{- end }}
{{- /* What `walproof kubernetes scan` writes begins with the version that the chart writes, too. */}}
{{- if and (hasKey .Values.config "version") (ne (toString .Values.config.version) "1") }}
{{- fail (printf "config.version: the chart writes version 1, and no other is known; not %v" .Values.config.version) }}
{{- end }}
{{- range $key := list "state" "state_password" "state_directory" "kubernetes" "daemon" "drills" }}
{{- if hasKey $.Values.config $key }}
{{- fail (printf "config.%s: the chart writes that itself (state, daemon, drills, controller, executor of the values)" $key) }}
{{- end }}
{{- end }}
{{- range $key := list "listen" "stop_within" "executor" "kubernetes" }}
{{- if hasKey $.Values.daemon $key }}
{{- fail (printf "daemon.%s: the chart writes that itself (stopWithinSeconds, executor of the values)" $key) }}
{{- end }}
{{- end }}
{{- range $name, $definition := .Values.drills }}
{{- if and (hasKey $definition "name") (ne $definition.name $name) }}
{{- fail (printf "drills.%s: its name is %s; the key is the name" $name $definition.name) }}
{{- end }}
{{- $prefix := ($definition.cnpg | default dict).namespace_prefix }}
{{- if and $prefix (not (has $prefix $.Values.scratch.namespacePrefixes)) }}
{{- fail (printf "drills.%s: cnpg.namespace_prefix %s is not among scratch.namespacePrefixes, so its namespaces would be refused" $name $prefix) }}
{{- end }}
{{- if eq ($definition.environment | default "local") "cnpg" }}
{{- if not (or $prefix (has "walproof-drill" $.Values.scratch.namespacePrefixes)) }}
{{- fail (printf "drills.%s: without cnpg.namespace_prefix its namespaces begin with walproof-drill, which is not among scratch.namespacePrefixes, so they would be refused" $name) }}
{{- end }}
{{- if not (and $.Values.rbac.drills) }}
{{- fail (printf "drills.%s: environment cnpg needs rbac.drills" $name) }}
{{- end }}
{{- $form := ($definition.cnpg | default dict).form }}
{{- if and $form (not (has $form $.Values.rbac.forms)) }}
{{- fail (printf "drills.%s: cnpg.form %s is not among rbac.forms" $name $form) }}
{{- end }}
{{- end }}
{{- end }}
{{- if and .Values.rbac.create .Values.rbac.scratchRole }}
{{- fail (printf "rbac.scratchRole is given (%s), and rbac.create makes one: which is meant?" .Values.rbac.scratchRole) }}
{{- end }}
{{- range .Values.config.clusters }}
{{- $fresh := ((.kubernetes | default dict).fresh_backup) | default "never" }}
{{- if and (ne $fresh "never") (not (has .kubernetes.namespace $.Values.rbac.backups)) }}
{{- fail (printf "config.clusters, %s: fresh_backup needs %s among rbac.backups" .name .kubernetes.namespace) }}
{{- end }}
{{- end }}
{{- end }}
