//! The command `swarm`: create, seed, track and fetch what `swarmsrc` plays.

fn main() -> std::process::ExitCode {
    gstswarm::cli::run()
}
