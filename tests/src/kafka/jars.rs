//! Kafka's jars from Maven Central, fetched once per version into a cache.

use std::fs::{self, File};
use std::path::{Path, PathBuf};
use std::process::{Command, Stdio};

use super::error::{AtPath, Error, Result};

/// Pinned, so that a release of the plugin cannot change what a test runs.
const COPY_DEPENDENCIES: &str = "org.apache.maven.plugins:maven-dependency-plugin:3.8.1:copy-dependencies";
/// The logging binding for every version: one that needs no configuration file.
const SLF4J_VERSION: &str = "1.7.36";
/// XXH3 for the Java tools.
const HASH4J_VERSION: &str = "0.22.0";

/// The class path of one Kafka version.
#[derive(Debug, Clone)]
pub struct Jars {
    version: String,
    folder: PathBuf,
}

impl Jars {
    /// The jars of a Kafka version, out of the cache or from Maven Central.
    ///
    /// The cache is `$MILLSTREAM_KAFKA_CACHE`, or `target/kafka-jars` of the workspace. Several processes may ask
    /// at once: one fetches, the others wait.
    ///
    /// # Errors
    /// [`Error::Unavailable`] without Java or Maven, or when Maven cannot fetch them.
    pub fn of(version: &str) -> Result<Self> {
        require_program("java", "-version", "install a JDK 17 (Debian: openjdk-17-jdk-headless)")?;
        let cache = cache();
        fs::create_dir_all(&cache).at(&cache)?;
        let folder = cache.join(version);
        let _lock = lock(&cache.join(format!("{version}.lock")))?;
        if !folder.is_dir() {
            fetch(version, &cache, &folder)?;
        }
        Ok(Self { version: version.to_owned(), folder })
    }

    /// Kafka's version.
    pub fn version(&self) -> &str {
        &self.version
    }

    /// For `java -cp`.
    pub fn class_path(&self) -> String {
        format!("{}/*", self.folder.display())
    }

    /// `java` with this class path and a heap of at most `heap_mb` MiB.
    pub fn java(&self, heap_mb: u32) -> Command {
        java(&self.class_path(), heap_mb)
    }
}

/// `java` with what suits short and small processes on few cores.
pub(super) fn java(class_path: &str, heap_mb: u32) -> Command {
    let mut command = Command::new("java");
    command.args([
        "-cp",
        class_path,
        &format!("-Xmx{heap_mb}m"),
        "-XX:+UseSerialGC",
        "-Djava.awt.headless=true",
    ]);
    command.args([
        "-Dorg.slf4j.simpleLogger.defaultLogLevel=warn",
        "-Dorg.slf4j.simpleLogger.showDateTime=true",
    ]);
    command
}

/// Where jars and compiled tools are kept.
pub(super) fn cache() -> PathBuf {
    match std::env::var_os("MILLSTREAM_KAFKA_CACHE") {
        Some(folder) => PathBuf::from(folder),
        None => Path::new(env!("CARGO_MANIFEST_DIR")).join("../target/kafka-jars"),
    }
}

/// Held while the returned file is open, across processes.
pub(super) fn lock(path: &Path) -> Result<File> {
    let file = File::create(path).at(path)?;
    file.lock().at(path)?;
    Ok(file)
}

/// Checks that a program can be run.
pub(super) fn require_program(program: &str, argument: &str, remedy: &str) -> Result<()> {
    let status = Command::new(program).arg(argument).stdout(Stdio::null()).stderr(Stdio::null()).status();
    match status {
        Ok(status) if status.success() => Ok(()),
        Ok(status) => Err(Error::Unavailable(format!("`{program} {argument}` failed ({status}); {remedy}"))),
        Err(error) => Err(Error::Unavailable(format!("`{program}` cannot be run ({error}); {remedy}"))),
    }
}

/// Fetches into a folder beside the final one and renames it: the final one is complete or absent.
fn fetch(version: &str, cache: &Path, folder: &Path) -> Result<()> {
    require_program("mvn", "--version", "install Maven (Debian: maven)")?;
    let work = cache.join(format!("{version}.part"));
    if work.exists() {
        fs::remove_dir_all(&work).at(&work)?;
    }
    let jars = work.join("jars");
    fs::create_dir_all(&jars).at(&jars)?;
    let pom_file = work.join("pom.xml");
    fs::write(&pom_file, pom(version)).at(&pom_file)?;
    let output = Command::new("mvn")
        .args(["-q", "-B", COPY_DEPENDENCIES, "-DincludeScope=runtime"])
        .arg(format!("-DoutputDirectory={}", jars.display()))
        .current_dir(&work)
        .output()
        .map_err(|source| Error::Spawn { what: "mvn".to_owned(), source })?;
    if !output.status.success() {
        let said = String::from_utf8_lossy(&output.stdout).into_owned();
        return Err(Error::Unavailable(format!("Maven cannot fetch Kafka {version}: {said}")));
    }
    fs::rename(&jars, folder).at(folder)?;
    fs::remove_dir_all(&work).at(&work)
}

fn pom(version: &str) -> String {
    let dependency = |group: &str, artifact: &str, version: &str| {
        format!(
            "<dependency><groupId>{group}</groupId><artifactId>{artifact}</artifactId><version>{version}</version>\
             <exclusions><exclusion><groupId>org.slf4j</groupId><artifactId>slf4j-log4j12</artifactId></exclusion>\
             <exclusion><groupId>org.slf4j</groupId><artifactId>slf4j-reload4j</artifactId></exclusion></exclusions>\
             </dependency>\n"
        )
    };
    let dependencies = [
        dependency("org.apache.kafka", "kafka_2.13", version),
        dependency("org.apache.kafka", "kafka-tools", version),
        dependency("org.slf4j", "slf4j-simple", SLF4J_VERSION),
        dependency("com.dynatrace.hash4j", "hash4j", HASH4J_VERSION),
    ]
    .concat();
    format!(
        "<project xmlns=\"http://maven.apache.org/POM/4.0.0\">\n<modelVersion>4.0.0</modelVersion>\n\
         <groupId>millstream</groupId><artifactId>kafka-jars</artifactId><version>1</version>\
         <packaging>pom</packaging>\n<dependencies>\n{dependencies}</dependencies>\n</project>\n"
    )
}
