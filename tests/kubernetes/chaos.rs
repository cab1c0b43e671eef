//! What may happen to controllers: they are killed at random for minutes, the API server is away,
//! their watches expire, others write beside them.

use std::io::{Read, Write};
use std::net::{Shutdown, SocketAddr, TcpListener, TcpStream};
use std::path::{Path, PathBuf};
use std::sync::atomic::{AtomicBool, Ordering};
use std::sync::{Arc, Mutex};
use std::time::{Duration, Instant, SystemTime, UNIX_EPOCH};

use serde_json::{Value, json};

use crate::common::kubernetes::source::Source;
use crate::common::kubernetes::{Lab, cluster};
use crate::common::postgres::TestServer;
use crate::common::process::wait_until;
use crate::common::scratch;
use crate::controller::{Ground, resource, state};
use crate::kit::Running;

const LIMIT: Duration = Duration::from_mins(12);

/// How long controllers are killed for.
fn minutes() -> u64 {
    let wish = std::env::var("WALPROOF_CHAOS_MINUTES").ok();
    wish.and_then(|text| text.parse().ok()).unwrap_or(4)
}

/// Numbers that look random; the seed is printed, and `WALPROOF_CHAOS_SEED` gives it again.
struct Dice(u64);

impl Dice {
    fn new() -> Self {
        let now = SystemTime::now().duration_since(UNIX_EPOCH).unwrap();
        let wish = std::env::var("WALPROOF_CHAOS_SEED").ok();
        let seed = wish.and_then(|text| text.parse().ok());
        let seed = seed.unwrap_or(now.as_secs()) | 1;
        println!("WALPROOF_CHAOS_SEED={seed}");
        Self(seed)
    }

    fn below(&mut self, limit: u64) -> u64 {
        self.0 ^= self.0 << 13;
        self.0 ^= self.0 >> 7;
        self.0 ^= self.0 << 17;
        self.0 % limit
    }
}

/// A way to the API server that can be cut.
struct Gate {
    address: SocketAddr,
    open: Arc<AtomicBool>,
    through: Arc<Mutex<Vec<TcpStream>>>,
}

impl Gate {
    fn to(server: SocketAddr) -> Self {
        let listener = TcpListener::bind("127.0.0.1:0").unwrap();
        let gate = Self {
            address: listener.local_addr().unwrap(),
            open: Arc::new(AtomicBool::new(true)),
            through: Arc::default(),
        };
        let (open, through) = (Arc::clone(&gate.open), Arc::clone(&gate.through));
        // Ends with the process.
        std::thread::spawn(move || {
            for client in listener.incoming().map_while(Result::ok) {
                if !open.load(Ordering::SeqCst) {
                    let _ = client.shutdown(Shutdown::Both);
                    continue;
                }
                let Ok(other) = TcpStream::connect(server) else {
                    continue;
                };
                let mut held = through.lock().unwrap();
                for (from, to) in [(&client, &other), (&other, &client)] {
                    let (from, to) = (from.try_clone().unwrap(), to.try_clone().unwrap());
                    held.push(from.try_clone().unwrap());
                    std::thread::spawn(move || carry(from, to));
                }
            }
        });
        gate
    }

    /// Nothing goes through any more, and what was there is torn.
    fn cut(&self) {
        self.open.store(false, Ordering::SeqCst);
        for stream in self.through.lock().unwrap().drain(..) {
            let _ = stream.shutdown(Shutdown::Both);
        }
    }

    fn mend(&self) {
        self.open.store(true, Ordering::SeqCst);
    }
}

fn carry(mut from: TcpStream, mut to: TcpStream) {
    let mut buffer = vec![0; 64 << 10];
    while let Ok(read) = from.read(&mut buffer) {
        if read == 0 || to.write_all(&buffer[..read]).is_err() {
            break;
        }
    }
    let _ = from.shutdown(Shutdown::Both);
    let _ = to.shutdown(Shutdown::Both);
}

/// A kubeconfig whose server is behind a gate.
fn behind(lab: &Lab, directory: &Path) -> (Gate, PathBuf) {
    let words = [
        "config",
        "view",
        "--raw",
        "--minify",
        "--flatten",
        "-o",
        "json",
    ];
    let mut config: Value = serde_json::from_str(&lab.ask(&words)).unwrap();
    let cluster = &mut config["clusters"][0]["cluster"];
    let server = cluster["server"].as_str().unwrap().to_owned();
    let server = server.trim_start_matches("https://").trim_end_matches('/');
    let gate = Gate::to(server.parse().unwrap());
    cluster["server"] = json!(format!("https://{}", gate.address));
    // The name that every API server's certificate has.
    cluster["tls-server-name"] = json!("kubernetes.default.svc");
    let file = directory.join("gate.kubeconfig");
    std::fs::write(&file, config.to_string()).unwrap();
    (gate, file)
}

/// For minutes a controller of two is killed at random, while drills once and by schedule and a
/// request are under way, one resource goes in the middle, and somebody else keeps writing to all
/// of them. Then everything is as if nothing had been.
#[test]
fn killed_at_random_nothing_is_lost_or_doubled() {
    let lab = cluster!();
    let _peace = lab.beside();
    let source = Source::plugin(lab);
    let moment = source.moment(0.4);
    let (server, url) = state();
    let ground = Ground::new(lab, source.name(), Some(&url));
    let mut dice = Dice::new();
    let mut daemons: Vec<Option<Running>> = vec![Some(ground.daemon()), Some(ground.daemon())];
    ground.guard("chaos");
    let once = ["chaos-a", "chaos-b"];
    for name in once.iter().chain(&["chaos-gone"]) {
        ground.apply("RecoveryDrill", name, &ground.drill(None));
    }
    let nightly = ground.drill(Some("0 */2 * * * *"));
    ground.apply("RecoveryDrill", "chaos-nightly", &nightly);
    let target = format!("time:{}", moment.at.format("%Y-%m-%dT%H:%M:%S%.6fZ"));
    let request = json!({
        "clusterRef": {"name": Source::CLUSTER}, "target": target, "lease": "60s",
        "access": {"secretInOwnNamespace": true},
        "cnpg": {"namespacePrefix": ground.place.prefix()},
    });
    ground.apply("RecoveryRequest", "chaos-lent", &request);

    let (begun, mut kills, mut gone) = (Instant::now(), 0, false);
    let end = Duration::from_mins(minutes());
    while begun.elapsed() < end {
        // A moment that is as good as any: within a write, a drill, a lease's renewal.
        std::thread::sleep(Duration::from_millis(5_000 + dice.below(40_000)));
        let one = usize::try_from(dice.below(2)).unwrap();
        daemons[one].take().unwrap().kill();
        kills += 1;
        // Whoever else labels what he finds: a conflict for who wrote by what he had read.
        let kinds = "protectedclusters,recoverydrills,recoveryrequests";
        let label = format!("touched=t{kills}");
        let all = ["label", kinds, "--all", "--overwrite", &label];
        lab.ask(&[&["-n", source.name()][..], &all].concat());
        if !gone && begun.elapsed() > end / 3 {
            gone = true;
            let delete = ["delete", "recoverydrill/chaos-gone", "--wait=false"];
            lab.ask(&[&["-n", source.name()][..], &delete].concat());
        }
        std::thread::sleep(Duration::from_millis(dice.below(3_000)));
        daemons[one] = Some(ground.daemon());
    }
    println!("{kills} kills in {:?}", begun.elapsed());
    assert!(gone && kills >= 3);

    // Nothing is lost: each comes to an end, and says so.
    for name in once {
        let over = ground.until(LIMIT, "recoverydrill", name, "over", |one| {
            ["Proven", "Failed", "Unproven"]
                .iter()
                .any(|phase| one["status"]["phase"] == *phase)
        });
        let jobs = ground.jobs_of(&format!("{}.{name}", source.name()));
        assert_eq!(jobs.len(), 1, "not doubled: {jobs:#?}");
        let proven = query(
            &server,
            &format!(
                "SELECT count(*) FROM runs WHERE kind = 'drill' AND verdict = 'proven' AND id = '{}'",
                over["status"]["lastRun"]["id"].as_str().unwrap_or_default()
            ),
        );
        println!(
            "{name}: {} after {} attempts",
            over["status"]["phase"], jobs[0]["attempts"]
        );
        // Whom the kills hit three times is told as that, and nothing else.
        if over["status"]["phase"] == "Proven" {
            assert_eq!(
                (jobs[0]["status"].as_str(), proven.as_str()),
                (Some("done"), "1")
            );
        } else {
            assert_eq!(over["status"]["phase"], "Unproven", "{over:#}");
            assert_eq!(jobs[0]["attempts"], 3, "{over:#}\n{jobs:#?}");
            assert_eq!(proven, "0");
        }
        let told = ground.told(name);
        for reason in ["Queued", "Proven", "CleanedUp"] {
            let often = told.iter().filter(|one| *one == reason).count();
            assert!(often <= 1, "{name}: {reason} {often} times: {told:?}");
        }
    }
    wait_until(LIMIT, "the end of what was deleted", || {
        ground.get("recoverydrill", "chaos-gone").is_none()
    });
    let lent = ground.until(LIMIT, "recoveryrequest", "chaos-lent", "over", |one| {
        ["Expired", "Unproven"]
            .iter()
            .any(|phase| one["status"]["phase"] == *phase)
    });
    println!("chaos-lent: {}", lent["status"]["message"]);

    // By its schedule: one job for each moment, and none of them twice.
    let delete = ["recoverydrill/chaos-nightly", "--timeout", "240s"];
    lab.ask(&[&["-n", source.name(), "delete"][..], &delete].concat());
    let twice = "SELECT count(*) FROM (SELECT schedule, due_at FROM jobs GROUP BY 1, 2 HAVING count(*) > 1) t";
    assert_eq!(query(&server, twice), "0");
    let ran = "SELECT count(*) FROM jobs WHERE schedule LIKE '%chaos-nightly'";
    assert_ne!(query(&server, ran), "0");
    wait_until(LIMIT, "nothing left", || {
        ground.place.scratch_namespaces().is_empty()
    });
    let open = "SELECT count(*) FROM jobs WHERE status = 'running' AND schedule LIKE '%chaos%'";
    wait_until(LIMIT, "no job", || query(&server, open) == "0");
    for name in once {
        ground.delete("recoverydrill", name);
    }
    ground.delete("recoveryrequest", "chaos-lent");
    ground.delete("protectedcluster", "chaos");
    for daemon in daemons.into_iter().flatten() {
        daemon.stop();
    }
}

fn query(server: &TestServer, sql: &str) -> String {
    let text = server.try_psql_in("walproof", sql).unwrap();
    text.trim().to_owned()
}

/// The API server is away for longer than a minute, and so much changes meanwhile that the watch
/// cannot go on where it was: it begins anew, and what is told is true again.
#[test]
fn an_api_server_that_was_away_is_caught_up_with() {
    let lab = cluster!();
    let namespace = lab.namespace("away");
    let directory = scratch::directory();
    let (gate, kubeconfig) = behind(lab, directory.path());
    let ground = Ground::by(lab, &namespace.name, None, &kubeconfig);
    let mut daemon = ground.place.start_daemon_logging("debug");
    let fill = |round: u32| {
        let all: Vec<Value> = (0..120)
            .map(|number| {
                let spec = json!({"name": format!("c{number}"), "owner": format!("round {round}")});
                resource(
                    "ProtectedCluster",
                    &namespace.name,
                    &format!("p{number}"),
                    &spec,
                )
            })
            .collect();
        lab.apply(&all);
    };
    fill(0);
    ground.until(LIMIT, "protectedcluster", "p119", "seen", |one| {
        one["status"]["phase"] == "Waiting"
    });
    gate.cut();
    daemon.wait_for_line("cannot be watched");
    let cut = Instant::now();
    // What the API server keeps for watches is at least a hundred events and what came within
    // the last 75 s.
    fill(1);
    std::thread::sleep(Duration::from_secs(80));
    fill(2);
    fill(3);
    lab.ask(&["-n", &namespace.name, "delete", "protectedcluster/p7"]);
    let spec = json!({"clusterRef": {"name": "c1"}});
    ground.apply("RecoveryDrill", "during", &spec);
    assert!(cut.elapsed() > Duration::from_mins(1));
    gate.mend();
    daemon.wait_for_line("too old resource version");
    ground.until(LIMIT, "protectedcluster", "p119", "seen again", |one| {
        one["status"]["observedGeneration"] == one["metadata"]["generation"]
            && one["metadata"]["generation"].as_u64() > Some(3)
    });
    ground.until(LIMIT, "recoverydrill", "during", "seen", |one| {
        one["status"]["phase"].is_string()
    });
    // What was deleted meanwhile is not made again, and the others are all there.
    let left = lab.list(&namespace.name, "protectedclusters", "");
    assert_eq!(left.len(), 119);
    for name in left
        .iter()
        .map(|one| one["metadata"]["name"].as_str().unwrap())
    {
        ground.until(LIMIT, "protectedcluster", name, "caught up with", |one| {
            one["status"]["observedGeneration"] == one["metadata"]["generation"]
        });
    }
    ground.delete("recoverydrill", "during");
    daemon.stop();
}

/// A drill is under way while the API server is away for a minute: it comes to its end, once.
#[test]
fn a_drill_outlives_the_absence_of_the_api_server() {
    let lab = cluster!();
    let _peace = lab.beside();
    let source = Source::plugin(lab);
    let directory = scratch::directory();
    let (gate, kubeconfig) = behind(lab, directory.path());
    let ground = Ground::by(lab, source.name(), None, &kubeconfig);
    let daemon = ground.daemon();
    ground.guard("patient");
    ground.apply("RecoveryDrill", "patient", &ground.drill(None));
    ground.phase(LIMIT, "patient", "Running");
    wait_until(LIMIT, "the scratch namespace", || {
        !ground.place.scratch_namespaces().is_empty()
    });
    gate.cut();
    std::thread::sleep(Duration::from_secs(65));
    gate.mend();
    let over = ground.until(LIMIT, "recoverydrill", "patient", "proven", |one| {
        one["status"]["phase"] == "Proven"
    });
    let jobs = ground.jobs_of(&format!("{}.patient", source.name()));
    assert_eq!(jobs.len(), 1, "{jobs:#?}");
    println!(
        "proven after {} attempts: {}",
        jobs[0]["attempts"], over["status"]["message"]
    );
    ground.delete("recoverydrill", "patient");
    ground.delete("protectedcluster", "patient");
    assert_eq!(ground.place.scratch_namespaces(), Vec::<String>::new());
    daemon.stop();
}
