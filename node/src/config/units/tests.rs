use super::*;

#[test]
fn sizes_are_written_as_they_are_read() {
    let check = |text: &str, bytes: usize, shown: &str| {
        let size: Size = text.parse().unwrap();
        assert_eq!((size.0, size.to_string().as_str()), (bytes, shown));
        assert_eq!(shown.parse::<Size>(), Ok(size));
    };
    check("512MiB", 512 << 20, "512MiB");
    check("1 GB", 1_000_000_000, "1000000000B");
    check("1024", 1024, "1KiB");
    check("1.5KiB", 1536, "1536B");
    check("0", 0, "0B");
    for text in ["", "MiB", "-1", "12 parsecs"] {
        assert!(text.parse::<Size>().is_err(), "{text}");
    }
}

#[test]
fn durations_are_written_as_they_are_read() {
    let check = |text: &str, millis: u64, shown: &str| {
        let span: Span = text.parse().unwrap();
        assert_eq!((span.0, span.to_string().as_str()), (Duration::from_millis(millis), shown));
        assert_eq!(shown.parse::<Span>(), Ok(span));
    };
    check("90s", 90_000, "1m 30s");
    check("1h 30m", 5_400_000, "1h 30m");
    check("250ms", 250, "250ms");
    for text in ["", "90", "soon"] {
        assert!(text.parse::<Span>().is_err(), "{text}");
    }
}

#[test]
fn paces_are_written_as_they_are_read() {
    let check = |text: &str, bytes: Option<u64>, shown: &str| {
        let pace: Pace = text.parse().unwrap();
        assert_eq!((pace.0.map(NonZeroU64::get), pace.to_string().as_str()), (bytes, shown));
        assert_eq!(shown.parse::<Pace>(), Ok(pace));
    };
    check("64MiB", Some(64 << 20), "64MiB");
    check("unlimited", None, "unlimited");
    for text in ["", "0", "0B", "fast", "-1"] {
        assert!(text.parse::<Pace>().is_err(), "{text}");
    }
}

#[test]
fn copies_are_a_number_or_all() {
    let check = |text: &str, copies: u8| {
        assert_eq!(text.parse(), Ok(Copies(copies)));
        assert_eq!(Copies(copies).to_string(), text);
    };
    check("1", 1);
    check("7", 7);
    check("all", u8::MAX);
    for text in ["", "0", "8", "255", "256", "-1", "All", "two"] {
        assert!(text.parse::<Copies>().is_err(), "{text}");
    }
}
