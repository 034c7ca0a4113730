//! What is wrong is said in one line, with a non-zero exit, no panic and no back trace.

use std::io::{Read, Write};
use std::net::TcpListener;
use std::process::Output;
use std::thread;

use crate::common::{broker, consume, millstream, stderr};

/// Checks the one line and returns it.
fn one_line(output: &Output, code: i32) -> String {
    let said = stderr(output);
    assert_eq!(output.status.code(), Some(code), "{said}");
    assert_eq!(said.lines().count(), 1, "{said}");
    assert!(said.starts_with("millstream: ") && !said.contains("panicked"), "{said}");
    assert_eq!(String::from_utf8_lossy(&output.stdout), "");
    said
}

/// A server that answers every connection's first bytes with `answer` and hangs up.
fn server(answer: &'static [u8]) -> String {
    let listener = TcpListener::bind("127.0.0.1:0").unwrap();
    let address = listener.local_addr().unwrap().to_string();
    // Ends with the test's process.
    thread::spawn(move || {
        for stream in listener.incoming() {
            let Ok(mut stream) = stream else { return };
            let mut request = [0; 1024];
            // A client that has gone needs no answer.
            if stream.read(&mut request).is_ok_and(|read| read > 0) {
                _ = stream.write_all(answer);
            }
        }
    });
    address
}

fn consume_from(brokers: &str) -> Output {
    millstream(&["consume", "-b", brokers, "-t", "t", "-e", "-X", "default.api.timeout.ms=3000"])
        .output()
        .unwrap()
}

#[test]
fn a_host_that_does_not_exist_is_named() {
    let said = one_line(&consume_from("no-such-host.invalid:9092"), 1);
    assert!(said.contains("no-such-host.invalid"), "{said}");
}

#[test]
fn a_port_that_nobody_listens_on_is_named() {
    let listener = TcpListener::bind("127.0.0.1:0").unwrap();
    let address = listener.local_addr().unwrap().to_string();
    drop(listener);
    let said = one_line(&consume_from(&address), 1);
    assert_eq!(said.matches(&address).count(), 1, "once: {said}");
}

#[test]
fn a_topic_or_partition_that_does_not_exist_is_named() {
    let broker = broker(2);
    let said = one_line(&consume(&broker, &["-t", "nope", "-e"]), 1);
    assert!(said.contains("nope"), "{said}");
    let said = one_line(&consume(&broker, &["-t", "t", "-p", "7", "-e"]), 1);
    assert!(said.contains('7'), "{said}");
}

#[test]
fn a_server_that_is_no_broker_is_told_from_a_broker() {
    let said = one_line(&consume_from(&server(b"HTTP/1.1 400 Bad Request\r\n\r\n")), 1);
    assert!(said.contains("HTTP"), "{said}");
    one_line(&consume_from(&server(b"220 mail.example ESMTP\r\n")), 1);
}

#[test]
fn a_tls_port_spoken_to_in_plain_text_is_told() {
    let said = one_line(&consume_from(&server(b"\x15\x03\x03\x00\x02\x02\x46")), 1);
    assert!(said.contains("TLS"), "{said}");
}

#[test]
fn a_wrong_property_is_refused_with_the_nearest() {
    let said = one_line(&consume(&broker(1), &["-t", "t", "-X", "fetch.min.byte=1"]), 2);
    assert!(said.contains("fetch.min.bytes"), "{said}");
    let said = one_line(&consume(&broker(1), &["-t", "t", "-X", "security.protocol=SSL"]), 2);
    assert!(said.contains("not supported yet"), "{said}");
    let said = one_line(&consume(&broker(1), &["-t", "t", "-F", "no-such-file.properties"]), 2);
    assert!(said.contains("no-such-file.properties"), "{said}");
}

#[test]
fn a_wrong_command_line_names_the_help() {
    for arguments in
        [&["consume", "-b", "k"][..], &["consume", "--nope"], &["demo", "--rate", "x"], &["nope"], &[]]
    {
        let said = one_line(&millstream(arguments).output().unwrap(), 2);
        assert!(said.contains("--help"), "{said}");
    }
}

#[test]
fn a_core_that_this_process_does_not_have_is_refused() {
    let said = one_line(&consume(&broker(1), &["-t", "t", "-X", "cores=4095"]), 1);
    assert!(said.contains("4095"), "{said}");
}
