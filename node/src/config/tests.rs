use super::*;

fn check(change: impl FnOnce(&mut Settings), key: &str, why: &str) {
    let mut settings = Settings::new("certs/n1");
    change(&mut settings);
    let error = Config::try_from(settings).unwrap_err();
    assert_eq!((error.key, error.why.as_str()), (key, why));
}

#[test]
fn settings_out_of_range_are_refused() {
    check(|it| it.vnodes = 4097, "vnodes", "at most 4096");
    check(|it| it.value_bytes_max = 0, "max_value", "1 B to 16 MiB");
    check(|it| it.value_bytes_max = usize::MAX, "max_value", "1 B to 16 MiB");
    check(|it| it.memory_bytes = (16 << 20) - 1, "memory", "at least 16 times max_value, 16 MiB here");
    check(|it| it.clients_max = 0, "clients_max", "at least 1");
    check(|it| it.busy_poll = Duration::from_millis(2), "busy_poll", "at most 1 ms");
    check(|it| it.max_mtu = 1199, "max_mtu", "1200 to 16000 bytes");
    check(|it| it.max_mtu = 16_001, "max_mtu", "1200 to 16000 bytes");
    check(|it| it.drain_timeout = Duration::from_secs(3601), "drain_timeout", "at most 1 hour");
    let out_after = "1 second to 30 days, in whole seconds";
    check(|it| it.out_after = Duration::from_millis(500), "out_after", out_after);
    check(|it| it.out_after = Duration::from_millis(1500), "out_after", out_after);
    check(|it| it.out_after = Duration::from_secs(30 * 24 * 3600 + 1), "out_after", out_after);
    check(|it| it.data = Some("".into()), "data", "a folder is needed");
    check(|it| it.replication = 0, "replication", "1 to 7, or all");
    check(|it| it.replication = 8, "replication", "1 to 7, or all");
    check(|it| it.gc_grace = Duration::from_secs(59), "gc_grace", "1 minute to 30 days");
    check(|it| it.gc_grace = Duration::from_secs(30 * 24 * 3600 + 1), "gc_grace", "1 minute to 30 days");
}

#[test]
fn listening_everywhere_takes_an_address_for_others() {
    let why = "needed when listen is a wildcard: others must know where to reach this node";
    check(|it| it.listen = "0.0.0.0:7750".parse().unwrap(), "advertise", why);
    check(|it| it.listen = "[::]:7750".parse().unwrap(), "advertise", why);
}

#[test]
fn limits_themselves_are_allowed() {
    let mut settings = Settings::new("certs/n1");
    settings.vnodes = 0;
    settings.value_bytes_max = 16 << 20;
    settings.memory_bytes = 256 << 20;
    settings.drain_timeout = Duration::from_secs(3600);
    settings.out_after = Duration::from_secs(1);
    (settings.replication, settings.gc_grace) = (limits::REPLICATION_ALL, Duration::from_secs(60));
    Config::try_from(settings.clone()).unwrap();
    settings.replication = limits::REPLICATION_MAX;
    settings.out_after = Duration::from_secs(30 * 24 * 3600);
    Config::try_from(settings).unwrap();
}
