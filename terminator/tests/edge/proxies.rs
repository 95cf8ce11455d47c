//! Proxies in front of the terminator: whose `x-forwarded-*` headers are trusted, and what becomes
//! of them.

use bus::Envelope;

use crate::client::Client;
use crate::service::field;
use crate::terminator::Terminator;

/// All the headers in which a client or a proxy may report where a request came from.
const CLAIMS: &str = "x-forwarded-for: 1.2.3.4\r\nx-forwarded-proto: https\r\nX-Forwarded-Host: there\r\n\
    x-forwarded-port: 1\r\nx-forwarded-prefix: /p\r\nx-forwarded-server: s\r\nx-forwarded-scheme: https\r\n\
    x-forwarded-ssl: on\r\nforwarded: for=1.2.3.4\r\nx-real-ip: 1.2.3.4\r\ntrue-client-ip: 1.2.3.4\r\n";

/// The fields of a request that report where it came from.
fn claims(request: &Envelope) -> Vec<(String, String)> {
    let text = |bytes: &[u8]| String::from_utf8(bytes.to_vec()).unwrap();
    let fields = request.fields().map(|(name, value)| (text(name), text(value)));
    fields.filter(|(name, _)| name.contains("forwarded") || name.contains("-ip")).collect()
}

fn ours(client: &[(&str, &str)]) -> Vec<(String, String)> {
    client.iter().map(|(name, value)| ((*name).to_owned(), (*value).to_owned())).collect()
}

#[test]
fn where_a_request_came_from_is_appended() {
    let terminator = Terminator::start(&[]);
    let mut service = terminator.service(&["GET /a"]);
    let mut client = terminator.client();
    let mut ask = |headers: &str| {
        client.send(format!("GET /a HTTP/1.1\r\nhost: here\r\n{headers}\r\n"));
        let request = service.request();
        service.reply(&request, 200, &[], b"");
        client.answer();
        ["x-forwarded-for", "x-forwarded-proto", "x-forwarded-host"]
            .map(|name| field(&request, name).unwrap_or("").to_owned())
    };
    assert_eq!(ask(""), ["127.0.0.1", "http", "here"]);
    let chain = "x-forwarded-for: 1.2.3.4\r\nX-Forwarded-For: 5.6.7.8\r\n";
    assert_eq!(
        ask(&format!("{chain}x-forwarded-proto: https\r\nx-forwarded-host: there\r\n")),
        ["1.2.3.4, 5.6.7.8, 127.0.0.1", "https", "there"]
    );
    // A client cannot remove the headers of a proxy by naming them in Connection.
    assert_eq!(
        ask(
            "connection: x-forwarded-proto, x-forwarded-host\r\nx-forwarded-proto: https\r\nx-forwarded-host: there\r\n"
        ),
        ["127.0.0.1", "https", "there"]
    );
}

#[test]
fn every_claim_of_a_client_that_is_not_trusted_is_dropped() {
    for flags in
        [["--forwarded", "replace"], ["--trusted-proxy", "192.0.2.0/24"], ["--trusted-proxy", "unix"]]
    {
        let terminator = Terminator::start(&flags);
        let mut service = terminator.service(&["GET /a"]);
        let mut client = terminator.client();
        client.send(format!("GET /a HTTP/1.1\r\nhost: here\r\n{CLAIMS}\r\n"));
        let request = service.request();
        let expected =
            [("x-forwarded-for", "127.0.0.1"), ("x-forwarded-proto", "http"), ("x-forwarded-host", "here")];
        assert_eq!(claims(&request), ours(&expected), "{flags:?}");
    }
}

#[test]
fn every_claim_of_a_trusted_proxy_is_forwarded() {
    let dir = tempfile::tempdir().unwrap();
    let unix = format!("unix:{}", dir.path().join("http.sock").display());
    let terminator = Terminator::start(&["--http", "127.0.0.1:0", "--http", &unix]);
    let mut service = terminator.service(&["GET /a"]);
    for (address, addresses, forwarded) in [
        (&terminator.http[0], "1.2.3.4, 127.0.0.1", "for=1.2.3.4, for=127.0.0.1;proto=http;host=\"here\""),
        (&terminator.http[1], "1.2.3.4", "for=1.2.3.4, for=unknown;proto=http;host=\"here\""),
    ] {
        let mut client = Client::connect(address);
        client.send(format!("GET /a HTTP/1.1\r\nhost: here\r\nconnection: forwarded\r\n{CLAIMS}\r\n"));
        let request = service.request();
        service.reply(&request, 200, &[], b"");
        client.answer();
        assert_eq!(claims(&request).len(), 11);
        assert_eq!(field(&request, "x-forwarded-for"), Some(addresses));
        assert_eq!(field(&request, "forwarded"), Some(forwarded));
        assert_eq!(field(&request, "x-forwarded-proto"), Some("https"));
        assert_eq!(field(&request, "x-real-ip"), Some("1.2.3.4"));
    }
}

#[test]
fn the_access_log_names_the_client_behind_the_proxies() {
    let dir = tempfile::tempdir().unwrap();
    let file = dir.path().join("access.log");
    let log = ["--access-log", file.to_str().unwrap()];
    let trusted = ["--trusted-proxy", "127.0.0.1", "--trusted-proxy", "10.0.0.0/8"];
    let mut terminator = Terminator::start(&[&log[..], &trusted].concat());
    let mut client = terminator.client();
    let cases = [
        ("", "127.0.0.1"),
        ("x-forwarded-for: 192.0.2.7\r\n", "192.0.2.7"),
        ("x-forwarded-for: 6.6.6.6, 192.0.2.7, 10.1.1.1\r\nx-forwarded-for: 10.1.1.2\r\n", "192.0.2.7"),
        ("x-forwarded-for: 10.1.1.1\r\n", "10.1.1.1"),
        ("x-forwarded-for: unknown\r\n", "127.0.0.1"),
        ("forwarded: for=6.6.6.6, For=\"[2001:db8::7]:80\";proto=https, for=10.1.1.1\r\n", "2001:db8::7"),
    ];
    for (headers, _) in cases {
        client.send(format!("GET /nowhere HTTP/1.1\r\nhost: a\r\n{headers}\r\n"));
        client.answer().problem(404, "no_route");
    }
    drop(client);
    terminator.signal("TERM");
    assert_eq!(terminator.end_of().0.code(), Some(0));
    let text = std::fs::read_to_string(&file).unwrap();
    let lines = text.lines().map(|line| serde_json::from_str::<serde_json::Value>(line).unwrap());
    let clients: Vec<_> = lines.map(|line| line["client"].as_str().unwrap().to_owned()).collect();
    assert_eq!(clients, cases.map(|(_, client)| client));
}
