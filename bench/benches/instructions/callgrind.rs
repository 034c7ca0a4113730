//! Runs one piece under callgrind and reads what it counted.
//!
//! So that the same program gives the same count everywhere, the child gets an empty environment (its size moves the
//! stack) and a C library that is told to leave the widest instructions alone. Of the processor, valgrind shows a
//! program the instructions that it can emulate, so a choice at run time falls on the same kernel on each host that
//! has AVX2; CRC-32C is then the 128 bits wide one, not the 512 bits wide one of a newer host.

use std::process::Command;

use super::Outcome;

/// The argument that makes this program run one piece.
pub(crate) const COUNT: &str = "--count";
/// The function between whose entry and exit is counted.
const MEASURED: &str = "*instructions*measured*";
const C_LIBRARY: &str = "glibc.cpu.hwcaps=-AVX2,-AVX512F,-AVX512VL,-ERMS,-FSRM";

/// What callgrind counted of one piece.
pub(crate) struct Counted {
    pub(crate) instructions: u64,
    /// How many units of work that was, and what a unit is.
    pub(crate) units: u64,
    pub(crate) unit: String,
}

/// Compiler and instruction set, as far as counts depend on them.
pub(crate) fn made_with() -> Outcome<String> {
    let version =
        Command::new("rustc").arg("--version").output().map_err(|error| format!("rustc: {error}"))?;
    let version = String::from_utf8_lossy(&version.stdout);
    let number = version.split_whitespace().nth(1).ok_or("rustc does not tell its version")?;
    #[cfg(target_arch = "x86_64")]
    let wide = if std::is_x86_feature_detected!("avx2") { "avx2" } else { "sse2" };
    #[cfg(not(target_arch = "x86_64"))]
    let wide = "plain";
    Ok(format!("rustc {number}, {} {wide}", std::env::consts::ARCH))
}

/// Counts the instructions of one piece.
pub(crate) fn count(piece: &str) -> Outcome<Counted> {
    let program = std::env::current_exe()?;
    let out = std::env::temp_dir().join(format!("instructions-{}-{piece}", std::process::id()));
    let run = Command::new("valgrind")
        .arg("--tool=callgrind")
        .arg(format!("--callgrind-out-file={}", out.display()))
        .arg(format!("--toggle-collect={MEASURED}"))
        .arg("--quiet")
        .arg(program)
        .args([COUNT, piece])
        .env_clear()
        .env("PATH", std::env::var_os("PATH").unwrap_or_default())
        .env("GLIBC_TUNABLES", C_LIBRARY)
        .output()
        .map_err(|error| format!("valgrind: {error}; install it (Debian's package is valgrind)"))?;
    let profile = std::fs::read_to_string(&out);
    // A profile that was not written is told of below.
    let _ = std::fs::remove_file(&out);
    if !run.status.success() {
        return Err(format!(
            "{piece} under valgrind: {}\n{}",
            run.status,
            String::from_utf8_lossy(&run.stderr)
        )
        .into());
    }
    let said = String::from_utf8_lossy(&run.stdout);
    let (units, unit) = said.trim().split_once(' ').ok_or_else(|| format!("{piece} said {said:?}"))?;
    let profile = profile.map_err(|error| format!("{}: {error}", out.display()))?;
    let totals = profile.lines().find_map(|line| line.strip_prefix("totals: "));
    let instructions =
        totals.and_then(|count| count.trim().parse().ok()).ok_or("callgrind wrote no totals")?;
    if instructions == 0 {
        return Err(format!("{piece}: callgrind did not see {MEASURED}").into());
    }
    Ok(Counted { instructions, units: units.parse()?, unit: unit.to_owned() })
}
