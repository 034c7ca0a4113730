//! Runs a command that is denied io_uring, as in a container: `deny_io_uring COMMAND...`.

use std::error::Error;
use std::os::unix::process::CommandExt;
use std::process::Command;

use millstream_tests::seccomp::{DENIED, deny_io_uring};

fn main() -> Result<(), Box<dyn Error>> {
    let mut arguments = std::env::args_os().skip(1);
    let command = arguments.next().ok_or("usage: deny_io_uring COMMAND...")?;
    deny_io_uring().map_err(|error| format!("this host permits no seccomp filter: {error}"))?;
    // Returns only when the command cannot be run.
    Err(Command::new(command).args(arguments).env(DENIED, "1").exec().into())
}
