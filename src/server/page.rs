//! The page at `/`, which says what is here.

/// The page.
pub(super) fn index() -> String {
    format!(
        "<!doctype html>\n<html lang=\"en\">\n<head><meta charset=\"utf-8\"><title>walproof</title></head>\n<body>\n\
         <h1>walproof {}</h1>\n\
         <p>This daemon proves that PostgreSQL backups restore.</p>\n<ul>\n\
         <li><a href=\"/healthz\">/healthz</a>: the process lives</li>\n\
         <li><a href=\"/readyz\">/readyz</a>: state, configuration and tick are there</li>\n\
         <li><a href=\"/metrics\">/metrics</a>: for Prometheus</li>\n</ul>\n\
         <p>How the clusters stand: <code>walproof status</code> on the command line.</p>\n\
         </body>\n</html>\n",
        env!("CARGO_PKG_VERSION")
    )
}
