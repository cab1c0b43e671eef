//! What the numbers do not say, and how to check them without us.

use std::fmt::Write as _;

use super::text::{Escaped, count, grouped};
use crate::evidence::export::{Manifest, Summary};
use crate::evidence::{Digest, standing_limits};

pub(super) fn limits(page: &mut String, summary: &Summary) {
    page.push_str("<h2>What these numbers do not say</h2>\n<ul>\n");
    let own = [
        "A proof is as old as its drill. Between two drills the archive may break: verifications look for that, and prove less.",
        "A verification that passed read what its depth says (listed, sampled or read). It restored nothing.",
        "What was missed or skipped is counted, not judged: nobody knows what it would have found.",
        "Runs are counted in the period in which they ended.",
        "The records show whether something was changed or removed after it was recorded. They do not show what was never recorded, such as a cluster that nobody configured.",
        "Whoever can write the database of records could write all of it anew. Only a head kept elsewhere shows that (see Integrity).",
    ];
    for limit in own.into_iter().map(str::to_owned).chain(standing_limits()) {
        let _ = writeln!(page, "<li>{}</li>", Escaped(&limit));
    }
    let totals = summary.totals();
    if totals.unreadable > 0 {
        let _ = writeln!(
            page,
            "<li><b>{} of {} in the period could not be understood by this version of walproof: they are in <code>entries.jsonl</code>, not in the numbers.</b></li>",
            grouped(totals.unreadable),
            count(totals.entries, "entry").replace("entrys", "entries")
        );
    }
    page.push_str("</ul>\n");
}

pub(super) fn integrity(page: &mut String, manifest: &Manifest, files: &[Digest]) {
    let (entries, ledger) = (&manifest.entries, &manifest.ledger);
    page.push_str(
        "<h2>Integrity</h2>\n<p>Every entry holds the SHA-256 of the text of the one before it. Whoever changes, removes or \
         inserts one has to write every later one anew, and then the last one has another digest. Keep the head somewhere \
         that walproof cannot write to.</p>\n<dl>\n",
    );
    match &ledger.first_break {
        None => {
            let _ = writeln!(
                page,
                "<dt>records</dt><dd>{} followed from the first one when this was made: no break</dd>",
                grouped(ledger.entries)
            );
        }
        Some(broken) => {
            let _ = writeln!(
                page,
                "<dt>records</dt><dd class=\"t-failed\">broken at {}</dd>",
                Escaped(&broken.to_string())
            );
        }
    }
    if let Some(head) = &ledger.head {
        let _ = writeln!(
            page,
            "<dt>head when this was made</dt><dd><code>{head}</code></dd>"
        );
    }
    let _ = write!(
        page,
        "<dt>in entries.jsonl</dt><dd>{}",
        grouped(entries.count)
    );
    if let (Some(first), Some(head)) = (entries.first, &entries.head) {
        let _ = write!(page, ", from {first} to {}", head.sequence);
    }
    page.push_str(if entries.complete {
        ", without gaps</dd>\n"
    } else {
        ": those of this cluster and those of none. An extract: each entry can be checked, the links only between neighbours</dd>\n"
    });
    if let Some(previous) = &entries.previous {
        let _ = writeln!(
            page,
            "<dt>SHA-256 before the first</dt><dd><code>{}</code></dd>",
            Escaped(previous)
        );
    }
    if let Some(head) = &entries.head {
        let _ = writeln!(
            page,
            "<dt>the last of them</dt><dd><code>{head}</code></dd>"
        );
    }
    for file in files {
        let _ = writeln!(
            page,
            "<dt>{}</dt><dd><code>{}</code></dd>",
            Escaped(&file.name),
            Escaped(&file.sha256)
        );
    }
    page.push_str("</dl>\n<h3>To check it with walproof</h3>\n<pre>walproof evidence verify --file entries.jsonl</pre>\n");
    page.push_str(
        "<h3>To check it by hand</h3>\n<p>The files against the manifest, then each entry against the link in the next one. \
         The last line printed must be the digest of the last entry above.</p>\n\
         <pre>jq -r '.files[] | \"\\(.sha256)  \\(.name)\"' manifest.json | sha256sum --check\n",
    );
    if entries.complete {
        page.push_str(
            "previous=$(jq -r .entries.previous manifest.json)\n\
             while IFS= read -r line; do\n  \
             [ \"$(printf '%s' \"$line\" | jq -r .previous)\" = \"$previous\" ] || { echo \"broken: $line\"; break; }\n  \
             previous=$(printf '%s' \"$line\" | sha256sum | cut -d' ' -f1)\n\
             done &lt; entries.jsonl\necho \"$previous\"</pre>\n",
        );
    } else {
        page.push_str("</pre>\n");
    }
    page.push_str(
        "<p class=\"note\">The text of an entry is canonical JSON (RFC 8785); its schema is <code>evidence/ledger-entry.v1.schema.json</code> of the project. \
         <code>manifest.json</code> holds the digests of all files, this page included.</p>\n",
    );
}
