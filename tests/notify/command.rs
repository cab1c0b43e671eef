//! `walproof notify`.

use crate::Place;
use crate::common::receiver::Receiver;
use crate::common::walproof::run;

fn place(good: &Receiver) -> Place {
    let place = Place::new(
        "  receivers:\n    good: {webhook: {url: {file: good.url}, secret: {file: key}}}\n    bad: {slack: {url: {file: bad.url}}}\n    unset: {slack: {url: {env: WALPROOF_TEST_NEVER_SET}}}\n  people: {on-call: [good], head: [bad], team: [], support: []}\n",
    );
    place.secret("good.url", &good.url());
    place.secret("bad.url", "http://127.0.0.1:9/services/hush-hush");
    place.secret("key", "a-signing-key");
    place
}

#[test]
fn a_test_says_what_each_receiver_answered() {
    let receiver = Receiver::start();
    let place = place(&receiver);
    let file = place.file().display().to_string();
    let all = run(&["notify", "test", "--config", &file], &[]).expect_code(1);
    assert!(
        all.stdout.contains("taken   good   webhook: 200"),
        "{}",
        all.stdout
    );
    assert!(
        all.stdout
            .contains("failed  bad    slack: cannot be reached"),
        "{}",
        all.stdout
    );
    assert!(
        all.stdout.contains("WALPROOF_TEST_NEVER_SET is not set"),
        "{}",
        all.stdout
    );
    let printed = format!("{}{}", all.stdout, all.stderr);
    assert!(
        !printed.contains("hush") && !printed.contains("a-signing-key"),
        "{printed}"
    );
    let received = receiver.received();
    let notice = received[0].json();
    assert_eq!(notice["test"], true);
    assert_eq!(notice["event"], "test");
    assert!(
        notice["summary"]
            .as_str()
            .unwrap()
            .contains("This is a test")
    );

    run(&["notify", "test", "good", "--config", &file], &[]).expect_code(0);
    let unknown = run(&["notify", "test", "goood", "--config", &file], &[]).expect_code(2);
    assert!(
        unknown.stderr.contains("receivers: bad, good, unset"),
        "{}",
        unknown.stderr
    );
    let json = run(
        &["notify", "test", "bad", "--config", &file, "-o", "json"],
        &[],
    );
    let json = json.expect_code(1).json();
    assert_eq!(json["schema"], "walproof.notify-test/v1");
    assert_eq!(json["receivers"][0]["ok"], false);
}

#[test]
fn routes_say_who_would_be_told() {
    let place = place(&Receiver::start());
    let file = place.file().display().to_string();
    let routes = run(&["notify", "routes", "orders", "--config", &file], &[]).expect_code(0);
    assert_eq!(
        routes.stdout,
        "critical from anything:\n  bad  (accountable head)\n  good  (responsible on-call)\n\
         warning from anything:\n  nobody\ninfo from anything:\n  nobody\n"
    );
    let unknown = run(&["notify", "routes", "ordres", "--config", &file], &[]).expect_code(2);
    assert!(
        unknown.stderr.contains("did you mean `orders`?"),
        "{}",
        unknown.stderr
    );
    let silent = Place::new("  people: {on-call: [], head: [], team: [], support: []}\n");
    let file = silent.file().display().to_string();
    let nobody = run(&["notify", "routes", "orders", "--config", &file], &[]).expect_code(1);
    assert!(
        nobody.stdout.contains("would reach nobody"),
        "{}",
        nobody.stdout
    );
}
