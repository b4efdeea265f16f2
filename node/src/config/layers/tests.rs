use super::*;

fn file(text: &str) -> ConfigFile {
    ConfigFile::parse("node.toml".as_ref(), text.into()).unwrap()
}

fn from_environment(keys: &[&str]) -> Sources {
    Sources { from_environment: keys.iter().map(|&key| key.to_owned()).collect() }
}

/// The whole chain of causes, as a user reads it.
fn told(error: &LoadError) -> String {
    let cause = std::error::Error::source(error).map(ToString::to_string).unwrap_or_default();
    format!("{error}: {cause}")
}

#[test]
fn later_sources_go_before_earlier_ones() {
    let check = |key: &str, expected: &str, expected_origin: Origin| {
        let given = Layer { vnodes: Some(64), zone: Some("east".parse().unwrap()), ..Layer::default() };
        let file = file("vnodes = 32\nmax_value = \"2MiB\"\nzone = \"west\"\n");
        let effective = Effective::new(&given, &from_environment(&["zone"]), Some(file)).unwrap();
        let (_, value, origin) = effective.rows().find(|(found, ..)| found == key).unwrap();
        let value = value.map(ToString::to_string).unwrap_or_default();
        assert_eq!((value.as_str(), origin), (expected, expected_origin), "{key}");
    };
    check("vnodes", "64", Origin::Flag);
    check("zone", "\"east\"", Origin::Environment);
    check("max_value", "\"2MiB\"", Origin::File);
    check("memory", "\"512MiB\"", Origin::Default);
    check("advertise", "", Origin::Default);
}

#[test]
fn every_key_reaches_the_node() {
    let text = r#"
        certs = "c"
        listen = "0.0.0.0:1"
        advertise = "a.example:2"
        seeds = ["a.example:2", "[::1]:3"]
        founders = ["a", "b"]
        zone = "z"
        data = "d"
        priority = 3
        timing = "wan"
        out_after = "1h"
        replication = "all"
        vnodes = 5
        slots_log2 = 6
        ring = "balanced"
        memory = "64MiB"
        max_value = "1KiB"
        eviction = "lru"
        clients_max = 7
        handoff_rate = "unlimited"
        gc_grace = "2h"
        hint_memory = "3MiB"
        on_stop = "stay"
        drain_timeout = "8s"
        busy_poll = "20us"
        max_mtu = 8952
        threads = 9
        log = "warn"
        log_format = "json"
    "#;
    let effective = Effective::new(&Layer::default(), &Sources::default(), Some(file(text))).unwrap();
    assert!(effective.rows().all(|(_, value, origin)| value.is_some() && origin == Origin::File));
    let config = effective.config().unwrap();
    let settings = config.settings();
    assert_eq!(settings.certs, quoit_client::CertificateFiles::in_folder("c"));
    assert_eq!(settings.listen.to_string(), "0.0.0.0:1");
    assert_eq!(settings.advertise.as_ref().map(ToString::to_string).as_deref(), Some("a.example:2"));
    assert_eq!(settings.seeds.len(), 2);
    assert_eq!(settings.founders.len(), 2);
    assert_eq!(settings.zone.as_ref().map(|zone| zone.as_str()), Some("z"));
    assert_eq!(settings.data.as_deref(), Some("d".as_ref()));
    assert_eq!((settings.priority, settings.timing), (3, quoit_proto_types::view::TimingProfile::Wan));
    assert_eq!(settings.out_after.as_secs(), 3600);
    assert_eq!(settings.ring, quoit_proto_types::view::RingAlgorithm::Balanced);
    assert_eq!((settings.vnodes, settings.slots.log2()), (5, 6));
    assert_eq!((settings.memory_bytes, settings.value_bytes_max), (64 << 20, 1024));
    assert_eq!(settings.eviction, quoit_core::store::EvictionPolicy::Lru);
    assert_eq!(settings.clients_max, 7);
    assert_eq!((settings.replication, settings.handoff_rate), (255, None));
    assert_eq!((settings.gc_grace.as_secs(), settings.hint_memory_bytes), (7200, 3 << 20));
    assert_eq!(settings.on_stop, crate::config::OnStop::Stay);
    assert_eq!(settings.drain_timeout.as_secs(), 8);
    assert_eq!((settings.busy_poll.as_micros(), settings.max_mtu), (20, 8952));
    assert_eq!(effective.threads().map(NonZeroUsize::get), Some(9));
    assert_eq!((effective.log(), effective.log_format()), (Some("warn"), LogFormat::Json));
}

#[test]
fn a_default_filter_is_nobodys_word() {
    let effective = Effective::new(&Layer::default(), &Sources::default(), None).unwrap();
    assert_eq!(effective.log(), None);
}

#[test]
fn files_that_cannot_be_read_are_refused_with_line_and_column() {
    let check = |text: &str, place: &str, reason: &str| {
        let error = ConfigFile::parse("node.toml".as_ref(), text.into()).unwrap_err();
        let told = told(&error);
        assert!(told.contains("node.toml") && told.contains(place) && told.contains(reason), "{told}");
    };
    check("\nmemroy = \"1GiB\"", "line 2, column 1", "unknown field `memroy`");
    check("vnodes = 1\nvnodes = 2", "line 2, column 1", "duplicate key");
    check("listen = \"localhost\"", "line 1, column 10", "invalid socket address");
    check("seeds = [\"a:1\", \"b\"]", "line 1, column 9", "`b` is not an address");
    check("memory = \"lots\"", "line 1, column 10", "`lots` is not a size");
    check("drain_timeout = \"soon\"", "line 1, column 17", "`soon` is not a duration");
    check("slots_log2 = 3", "line 1, column 14", "slots_log2 must be 4 to 20");
    check("eviction = \"fifo\"", "line 1, column 12", "unknown variant `fifo`");
    check("replication = 0", "line 1, column 15", "`0` is no number of copies");
    check("replication = \"most\"", "line 1, column 15", "1 to 7, or all");
    check("handoff_rate = \"0\"", "line 1, column 16", "`0` is not a pace");
    check("on_stop = \"leave\"", "line 1, column 11", "unknown variant `leave`");
    check("timing = \"slow\"", "line 1, column 10", "unknown variant `slow`");
    check("priority = 256", "line 1, column 12", "256");
    check("founders = [\"N1\"]", "line 1, column 12", "N1");
    check("threads = 0", "line 1, column 11", "nonzero");
    check("vnodes = ", "line 1, column 10", "literal string");
}

#[test]
fn values_that_are_not_allowed_are_refused_where_they_stand() {
    let check = |text: &str, given: &Layer, place: &str| {
        let sources = from_environment(&["memory"]);
        let error = Effective::new(given, &sources, Some(file(text))).unwrap_err();
        assert!(told(&error).starts_with(&format!("{place} cannot be used: setting `")), "{}", told(&error));
    };
    let open = Layer::default();
    check("zone = \"a\"\n  vnodes = 5000", &open, "node.toml:2:12");
    check("log = \"quoit=loud\"", &open, "node.toml:1:7");
    check("threads = 5000", &open, "node.toml:1:11");
    check("out_after = \"0s\"", &open, "node.toml:1:13");
    check("gc_grace = \"1s\"", &open, "node.toml:1:12");
    check("", &Layer { vnodes: Some(5000), ..open.clone() }, "--vnodes");
    check("", &Layer { max_value: Some(super::super::Size(0)), ..open.clone() }, "--max-value");
    check("", &Layer { memory: Some(super::super::Size(1)), ..open.clone() }, "QUOIT_MEMORY");
    // The default of one setting does not go with another.
    check("listen = \"0.0.0.0:1\"", &open, "advertise");
}

#[test]
fn a_file_that_was_named_must_exist() {
    let error = ConfigFile::find(Some("no/such/file.toml".as_ref())).unwrap_err();
    assert!(matches!(error, LoadError::Unreadable { .. }));
}
