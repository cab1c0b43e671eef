//! The walproof command.

fn main() -> std::process::ExitCode {
    walproof::cli::main()
}
