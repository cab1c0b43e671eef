//! Run books say what a person needs at 03:00, each in the same six steps, and their index
//! says what the codes say.

use std::path::Path;

use walproof::finding::Code;

fn page(name: &str) -> String {
    let file = Path::new(env!("CARGO_MANIFEST_DIR"))
        .join("runbooks")
        .join(name);
    std::fs::read_to_string(&file).unwrap_or_else(|_| String::new())
}

#[test]
fn each_page_has_the_six_sections_in_order_and_something_in_each() {
    let sections = [
        "Meaning",
        "Impact",
        "First five minutes",
        "Diagnosis",
        "Repair",
        "How to close",
    ];
    for code in Code::ALL {
        let text = page(&format!("{code}.md"));
        let parts: Vec<&str> = text.split("\n## ").collect();
        assert_eq!(parts.len(), 1 + sections.len(), "{code}");
        for (part, section) in parts[1..].iter().zip(sections) {
            let body = part
                .strip_prefix(section)
                .unwrap_or_else(|| panic!("{code}: {section}"));
            assert!(body.trim().len() > 10, "{code}: {section} says nothing");
        }
    }
}

#[test]
fn the_index_lists_each_code_with_its_severity_and_consequence() {
    let index = page("README.md");
    for code in Code::ALL {
        let line = format!(
            "| [{code}]({code}.md) | {} | {} |",
            code.severity().as_str(),
            code.consequence()
        );
        assert!(index.contains(&line), "runbooks/README.md lacks: {line}");
    }
}

#[test]
fn pages_refer_only_to_codes_that_exist_and_there_are_no_others() {
    let directory = Path::new(env!("CARGO_MANIFEST_DIR")).join("runbooks");
    let known: Vec<&str> = Code::ALL.iter().map(|code| code.as_str()).collect();
    for entry in std::fs::read_dir(directory).unwrap() {
        let name = entry.unwrap().file_name().into_string().unwrap();
        let code = name.trim_end_matches(".md");
        assert!(
            code == "README" || known.contains(&code),
            "runbooks/{name} is of no code"
        );
    }
}
