use super::*;
use crate::config::{Config, ConfigFile, Effective, LoadError, Origin, Sources};

/// The sample with every setting in force.
fn uncommented() -> String {
    let sample = sample();
    let is_setting = |line: &&str| line.starts_with('#') && !line.starts_with("# ");
    let settings: Vec<_> = sample.lines().filter(is_setting).map(|line| &line[1..]).collect();
    settings.join("\n")
}

fn read(text: String) -> Effective {
    let file = ConfigFile::parse("sample.toml".as_ref(), text).unwrap();
    Effective::new(&Layer::default(), &Sources::default(), Some(file)).unwrap()
}

#[test]
fn sample_as_it_is_changes_nothing() {
    let effective = read(sample());
    assert!(effective.rows().all(|(_, _, origin)| origin == Origin::Default));
    assert!(matches!(effective.config(), Err(LoadError::NoCertificates)));
}

#[test]
fn sample_in_force_sets_every_key_to_its_default_or_example() {
    let effective = read(uncommented());
    let defaults = toml::Table::try_from(Layer::defaults()).unwrap();
    for (key, value, origin) in effective.rows() {
        assert_eq!(origin, Origin::File, "{key}");
        if key != "certs" && EXAMPLES.iter().all(|(example, _)| *example != key) {
            assert_eq!(value, defaults.get(&key), "{key}");
        }
    }
    let _: Config = effective.config().unwrap();
}

#[test]
fn flag_variable_and_key_have_one_name() {
    for arg in documented().get_arguments() {
        let key = arg.get_id().as_str();
        assert_eq!(arg.get_long(), Some(key.replace('_', "-").as_str()));
        assert_eq!(arg.get_env(), Some(format!("QUOIT_{}", key.to_uppercase()).as_ref()));
    }
}

#[test]
fn help_names_the_true_defaults() {
    let defaults = toml::Table::try_from(Layer::defaults()).unwrap();
    for arg in documented().get_arguments() {
        let (key, help) = (arg.get_id().as_str(), arg.get_help().map(ToString::to_string).unwrap_or_default());
        assert!(help.contains("[default: "), "{key} says nothing of its default: {help}");
        if let Some(default) = defaults.get(key).filter(|default| !default.is_array()) {
            let default = default.as_str().map_or_else(|| default.to_string(), str::to_owned);
            assert!(help.contains(&format!("[default: {default}]")), "{key} is {default}, its help says: {help}");
        }
    }
}

#[test]
fn comments_are_wrapped() {
    assert!(sample().lines().all(|line| line.chars().count() <= 120));
}
