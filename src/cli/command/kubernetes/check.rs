//! `walproof kubernetes check`: what may be done, and what is missing.

use clap::{Args, ValueEnum};
use serde::Serialize;

use super::failure;
use crate::cli::access::AccessArgs;
use crate::cli::render::kubernetes_check;
use crate::cli::{Context, ExitCode, Failure};
use crate::kubernetes::access::{
    self, Answer, DrillForm, Permission, Source, Trial, for_backup, for_controller, for_definition,
    for_drill, for_drill_outside, for_executor, for_request, for_scan, for_scratch,
};
use crate::kubernetes::scratch::PREFIX;
use crate::kubernetes::{Identity, Kube};

/// The schema of `kubernetes check --output json`.
const SCHEMA: &str = "walproof.kubernetes-check/v1";

/// Say which permissions are there and which are missing, before anything is made
#[derive(Args, Clone, Debug)]
#[command(
    long_about = "Say which permissions are there and which are missing, before anything is made.\n\nThe API server is asked for every single one (SelfSubjectAccessReview). When all that a drill needs are there, it is also asked to make a namespace and what stands in it as a dry run, which goes through every policy and webhook and makes nothing.\n\nThe scratch namespace of a drill has no name before the drill, so what is done in it must be granted in all namespaces. Secrets are the exception: they are granted by name. With a scratch role it is granted in none: walproof binds itself to that role in each scratch namespace, right after it has made it, and it is looked whether the role holds what a drill needs.",
    after_long_help = "Examples:\n  walproof kubernetes check\n  walproof kubernetes check --for scan\n  walproof kubernetes check --for drill --namespace shop --secret orders-backup\n  walproof kubernetes check --as system:serviceaccount:walproof:walproof\n  walproof kubernetes check --as system:serviceaccount:walproof:walproof --print-role\n  walproof kubernetes check --scratch-role walproof-scratch\n\nExit codes: 0 all is there, 3 something is missing or the API could not be asked."
)]
pub struct CheckArgs {
    /// What is to be done
    #[arg(long = "for", value_name = "WORK", default_value = "drill")]
    pub work: WorkArg,
    /// How the drill's cluster is filled
    #[arg(long, value_name = "FORM", default_value = "plugin")]
    pub form: FormArg,
    /// The namespace of the clusters [default: all of them]
    #[arg(long, short, value_name = "NAME")]
    pub namespace: Option<String>,
    /// A Secret with a store's credentials in that namespace; may be repeated [default: any for a scan or
    /// a backup, none for a drill, whose pods get the credentials that walproof itself has]
    #[arg(long = "secret", value_name = "NAME", requires = "namespace")]
    pub secrets: Vec<String>,
    /// The ClusterRole that walproof binds itself to in scratch namespaces, so that what it does
    /// there need be granted nowhere else [default: the configuration's
    /// kubernetes.scratch_role]
    #[arg(long, value_name = "NAME")]
    pub scratch_role: Option<String>,
    /// What the names of scratch namespaces begin with, for the dry run with a scratch role
    #[arg(long, value_name = "PREFIX", default_value = PREFIX)]
    pub namespace_prefix: String,
    /// Which API server, as whom.
    #[command(flatten)]
    pub access: AccessArgs,
    /// Ask for this user instead, such as system:serviceaccount:NAMESPACE:NAME
    #[arg(help_heading = "Kubernetes", long = "as", value_name = "USER")]
    pub impersonate: Option<String>,
    /// Print the role that gives all of it, for `kubectl apply -f -`, and check nothing
    #[arg(long)]
    pub print_role: bool,
    /// The role's name [default: walproof- and the work, such as walproof-drill]
    #[arg(long, value_name = "NAME", requires = "print_role")]
    pub role_name: Option<String>,
}

/// Kinds of work.
#[derive(Clone, Copy, Debug, PartialEq, Eq, ValueEnum)]
pub enum WorkArg {
    /// Drills in scratch namespaces.
    Drill,
    /// `walproof kubernetes scan`, which only reads.
    Scan,
    /// `walproof backup request`.
    Backup,
    /// Jobs of the daemon as Jobs of Kubernetes, in --namespace.
    Executor,
    /// Custom resources, in --namespace or in all.
    Controller,
    /// Definitions of clusters, captured.
    Definition,
    /// Beside drills: the copy of a Secret for whoever asked for a restore, in --namespace.
    Request,
}

/// How a drill's cluster is filled.
#[derive(Clone, Copy, Debug, PartialEq, Eq, ValueEnum)]
pub enum FormArg {
    /// Through the Barman Cloud plugin.
    Plugin,
    /// Through the operator's own `barmanObjectStore`.
    InTree,
    /// From volume snapshots.
    Snapshot,
}

impl From<FormArg> for DrillForm {
    fn from(form: FormArg) -> Self {
        match form {
            FormArg::Plugin => Self::Plugin,
            FormArg::InTree => Self::InTree,
            FormArg::Snapshot => Self::Snapshot,
        }
    }
}

impl WorkArg {
    /// The word on the command line.
    pub(crate) const fn as_str(self) -> &'static str {
        match self {
            Self::Drill => "drill",
            Self::Scan => "scan",
            Self::Backup => "backup",
            Self::Executor => "executor",
            Self::Controller => "controller",
            Self::Definition => "definition",
            Self::Request => "request",
        }
    }
}

/// What `kubernetes check` found.
#[derive(Clone, Debug, Serialize)]
pub(crate) struct CheckReport {
    pub(crate) schema: &'static str,
    pub(crate) server: String,
    pub(crate) context: Option<String>,
    pub(crate) in_cluster: bool,
    pub(crate) version: String,
    pub(crate) username: String,
    pub(crate) work: &'static str,
    /// The ClusterRole that walproof binds itself to in scratch namespaces.
    #[serde(skip_serializing_if = "Option::is_none")]
    pub(crate) scratch_role: Option<String>,
    pub(crate) permissions: Vec<Answer>,
    /// What came of the dry run; absent when there was none.
    pub(crate) trials: Option<Vec<Trial>>,
    /// How many required permissions are missing.
    pub(crate) missing: usize,
    /// How many parts would be refused in a scratch namespace as well.
    pub(crate) refused: usize,
}

/// What is needed, and apart from it what a scratch role is to hold.
struct Needed {
    permissions: Vec<Permission>,
    scratch: Option<(String, Vec<Permission>)>,
}

fn needed(args: &CheckArgs, context: &Context) -> Result<Needed, Failure> {
    let source = Source {
        namespace: args.namespace.clone(),
        secrets: args.secrets.clone(),
    };
    let everywhere = |permissions| Needed {
        permissions,
        scratch: None,
    };
    Ok(match args.work {
        WorkArg::Scan => everywhere(for_scan(&source)),
        WorkArg::Backup => everywhere(for_backup(&source)),
        WorkArg::Executor => everywhere(for_executor(source.namespace.as_deref())),
        WorkArg::Controller => everywhere(for_controller(source.namespace.as_deref())),
        WorkArg::Definition => everywhere(for_definition(&source)),
        WorkArg::Request => everywhere(for_request(source.namespace.as_deref())),
        WorkArg::Drill => {
            let form = args.form.into();
            let configured = context.config()?.kubernetes.scratch_role;
            match args.scratch_role.clone().or(configured) {
                None => everywhere(for_drill(form, &source)),
                Some(role) => Needed {
                    permissions: for_drill_outside(form, &source, &role),
                    scratch: Some((role, for_scratch(form, None))),
                },
            }
        }
    })
}

pub(super) async fn run(args: CheckArgs, context: &Context) -> Result<ExitCode, Failure> {
    let needs = needed(&args, context)?;
    if args.print_role {
        return print_role(&args, &needs, context).await;
    }
    let kube = connect(&args, context).await?;
    let report = look(&kube, &args, needs).await?;
    if context.output.is_json() {
        context.output.json(&report)?;
    } else {
        let text = kubernetes_check::render(&report, context.output.style());
        context.output.text(&text)?;
    }
    Ok(if report.missing == 0 && report.refused == 0 {
        ExitCode::Done
    } else {
        ExitCode::Unproven
    })
}

async fn connect(args: &CheckArgs, context: &Context) -> Result<Kube, Failure> {
    let access = args.access.access(context)?;
    let kube = match &args.impersonate {
        Some(user) => Kube::connect_as(&access, user).await,
        None => Kube::connect(&access).await,
    };
    kube.map_err(failure)
}

async fn look(kube: &Kube, args: &CheckArgs, needs: Needed) -> Result<CheckReport, Failure> {
    let version = kube.version().await.map_err(failure)?;
    let identity = kube.whoami().await.map_err(failure)?;
    let mut permissions = access::check(kube, &needs.permissions)
        .await
        .map_err(failure)?;
    let mut scratch_role = None;
    if let Some((role, inside)) = needs.scratch {
        let inside = access::check_role(kube, &role, &inside).await;
        permissions.extend(inside.map_err(failure)?);
        scratch_role = Some(role);
    }
    let missing = permissions.iter().filter(|answer| answer.is_missing());
    let missing = missing.count();
    let trials = if args.work == WorkArg::Drill && missing == 0 {
        let namespace = args.namespace.as_deref().unwrap_or(kube.namespace());
        let trials = if scratch_role.is_some() {
            access::try_namespace(kube, &args.namespace_prefix).await
        } else {
            access::try_out(kube, args.form.into(), namespace).await
        };
        Some(trials.map_err(failure)?)
    } else {
        None
    };
    let refused = trials.iter().flatten().filter(|trial| trial.is_refused());
    Ok(CheckReport {
        schema: SCHEMA,
        server: kube.server().to_owned(),
        context: kube.context().map(str::to_owned),
        in_cluster: kube.in_cluster(),
        version,
        username: identity.username,
        work: args.work.as_str(),
        scratch_role,
        permissions,
        refused: refused.count(),
        trials,
        missing,
    })
}

/// For a given user nothing needs to be asked: the role can be printed without any access.
async fn print_role(
    args: &CheckArgs,
    needs: &Needed,
    context: &Context,
) -> Result<ExitCode, Failure> {
    let identity = if let Some(user) = &args.impersonate {
        Identity {
            username: user.clone(),
            groups: Vec::new(),
        }
    } else {
        let kube = connect(args, context).await?;
        kube.whoami().await.map_err(failure)?
    };
    let name = args.role_name.clone();
    let name = name.unwrap_or_else(|| format!("walproof-{}", args.work.as_str()));
    let manifests = match &needs.scratch {
        None => access::roles(&name, &needs.permissions, &identity),
        Some((role, inside)) => {
            access::split_roles(&name, &needs.permissions, role, inside, &identity)
        }
    };
    if context.output.is_json() {
        let list = serde_json::json!({
            "apiVersion": "v1",
            "kind": "List",
            "items": manifests,
        });
        context.output.json(&list)?;
        return Ok(ExitCode::Done);
    }
    let documents = manifests
        .iter()
        .map(serde_saphyr::to_string)
        .collect::<Result<Vec<String>, _>>()
        .map_err(|error| Failure::unproven(format_args!("print the role: {error}")))?;
    context.output.text(&documents.join("---\n"))?;
    Ok(ExitCode::Done)
}
