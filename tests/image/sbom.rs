//! What the image says that it is made of, beside what it is made of: the list in CycloneDX's
//! form (cargo-cyclonedx), the note in the program (cargo-auditable), and `Cargo.lock`.

use std::collections::{BTreeMap, BTreeSet};

use serde_json::Value;

use crate::common::require;
use crate::{elf, file, shipped};

/// A package, as `name version`.
type Package = String;

/// The packages of `Cargo.lock` with their digests; what is not from a registry has none.
fn locked() -> BTreeMap<Package, Option<String>> {
    let text = std::fs::read_to_string(file("Cargo.lock")).unwrap();
    text.split("[[package]]")
        .skip(1)
        .map(|block| {
            let value = |key: &str| {
                block
                    .lines()
                    .find_map(|line| line.strip_prefix(&format!("{key} = \"")))
                    .map(|rest| rest.trim_end_matches('"').to_owned())
            };
            let package = format!("{} {}", value("name").unwrap(), value("version").unwrap());
            (package, value("checksum"))
        })
        .collect()
}

/// The crates of a list with their digests.
fn listed(sbom: &Value) -> BTreeMap<Package, Option<String>> {
    sbom["components"]
        .as_array()
        .unwrap()
        .iter()
        .filter(|component| {
            let purl = component["purl"].as_str().unwrap();
            purl.starts_with("pkg:cargo/")
        })
        .map(|component| {
            let word = |key: &str| component[key].as_str().unwrap();
            let digest = component["hashes"]
                .as_array()
                .into_iter()
                .flatten()
                .find(|hash| hash["alg"] == "SHA-256")
                .map(|hash| hash["content"].as_str().unwrap().to_owned());
            (format!("{} {}", word("name"), word("version")), digest)
        })
        .collect()
}

/// The packages that the program notes, but for walproof itself. What only ran while it was
/// built is noted as such.
fn noted(note: &Value) -> BTreeSet<Package> {
    note["packages"]
        .as_array()
        .unwrap()
        .iter()
        .filter(|package| package["kind"] != "build" && package["root"] != true)
        .map(|package| {
            let word = |key: &str| package[key].as_str().unwrap();
            format!("{} {}", word("name"), word("version"))
        })
        .collect()
}

/// What of a list is not as `Cargo.lock` and the program have it.
fn mistakes(sbom: &Value, note: &Value) -> Vec<String> {
    let (locked, listed) = (locked(), listed(sbom));
    let mut found = Vec::new();
    for (package, digest) in &listed {
        match locked.get(package) {
            None => found.push(format!("{package} is not in Cargo.lock")),
            Some(expected) if expected != digest => {
                found.push(format!("{package} has another digest in Cargo.lock"));
            }
            Some(_) => {}
        }
    }
    let names: BTreeSet<Package> = listed.into_keys().collect();
    for package in noted(note).difference(&names) {
        found.push(format!("{package} is in the program and not listed"));
    }
    found
}

#[test]
fn the_list_is_what_was_locked_and_built() {
    require!(Image);
    let image = shipped();
    let sbom = image.sbom();
    assert_eq!(sbom["bomFormat"], "CycloneDX");
    let about = &sbom["metadata"]["component"];
    assert_eq!(about["name"], "walproof");
    assert_eq!(about["version"], env!("CARGO_PKG_VERSION"));
    let note = elf::noted(image.program()).expect("cargo auditable's note in the program");
    assert_eq!(mistakes(&sbom, &note), [""; 0]);
    let number = listed(&sbom).len();
    println!(
        "SBOM: {number} packages of {} in Cargo.lock, {} in the program",
        locked().len(),
        noted(&note).len()
    );
    assert!(number > 200, "{number}");
    // What only tests use is not in the image.
    for absent in ["proptest ", "insta ", "assert_cmd "] {
        assert!(!listed(&sbom).keys().any(|name| name.starts_with(absent)));
    }
    // Each says by what licence it may be there. What is no crate is known.
    let mut others = Vec::new();
    for component in sbom["components"].as_array().unwrap() {
        assert!(component["licenses"].is_array(), "{component}");
        if !component["purl"]
            .as_str()
            .unwrap()
            .starts_with("pkg:cargo/")
        {
            others.push(component["name"].as_str().unwrap());
        }
    }
    assert_eq!(others, ["rust-std", "ca-certificates"]);
    // Nothing of the machine that built it.
    let text = sbom.to_string();
    for word in [env!("CARGO_MANIFEST_DIR"), "file://", "/home/", "/root/"] {
        assert!(!text.contains(word), "{word}");
    }
}

/// The other way: what is missing, of another version or of another origin is noticed.
#[test]
fn a_list_that_is_wrong_is_noticed() {
    require!(Image);
    let image = shipped();
    let note = elf::noted(image.program()).unwrap();
    let spoiled = |spoil: &dyn Fn(&mut Vec<Value>)| {
        let mut sbom = image.sbom();
        let components = sbom["components"].as_array_mut().unwrap();
        spoil(components);
        mistakes(&sbom, &note)
    };
    let at = |components: &[Value]| {
        components
            .iter()
            .position(|component| component["name"] == "rustls")
            .unwrap()
    };
    let missing = spoiled(&|components| drop(components.remove(at(components))));
    assert!(
        missing.len() == 1 && missing[0].starts_with("rustls "),
        "{missing:?}"
    );
    let other = spoiled(&|components| {
        let at = at(components);
        components[at]["version"] = "0.20.0".into();
    });
    assert_eq!(other.len(), 2, "{other:?}");
    let forged = spoiled(&|components| {
        let at = at(components);
        components[at]["hashes"][0]["content"] = "0".repeat(64).into();
    });
    assert_eq!(forged.len(), 1, "{forged:?}");
}
