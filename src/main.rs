//! The walproof command.

use std::io::Write;
use std::process::ExitCode;

fn main() -> ExitCode {
    // Before any thread exists: confinement holds for one thread at a time.
    if let Some(Err(error)) =
        walproof::drill::environments::local::confine::dispatch(std::env::args_os())
    {
        let _ = writeln!(std::io::stderr(), "{error}");
        return ExitCode::from(126);
    }
    walproof::cli::main()
}
