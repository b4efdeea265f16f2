use super::*;

fn identity(role: Role, name: &str, cluster: &str) -> Identity {
    Identity::new(role, name.parse().unwrap(), cluster.parse().unwrap())
}

#[test]
fn labels_are_what_dns_allows_in_lower_case() {
    for good in ["a", "n1", "0", "a-b", "xn--bcher-kva", &"a".repeat(63)] {
        assert_eq!(good.parse::<Label>().unwrap().as_str(), good);
    }
    let bad = |text: &str| text.parse::<Label>().unwrap_err();
    assert_eq!(bad(""), LabelError::Empty);
    assert_eq!(bad(&"a".repeat(64)), LabelError::TooLong(64));
    assert_eq!(bad("N1"), LabelError::Character('N'));
    assert_eq!(bad("n.1"), LabelError::Character('.'));
    assert_eq!(bad("../n1"), LabelError::Character('.'));
    assert_eq!(bad("bücher"), LabelError::Character('ü'));
    assert_eq!(bad("-a"), LabelError::Hyphen);
    assert_eq!(bad("a-"), LabelError::Hyphen);
}

#[test]
fn identities_have_a_name_and_a_role_name() {
    let n1 = identity(Role::Node, "n1", "prod");
    assert_eq!(n1.dns_name(), "n1.node.prod.quoit.internal");
    assert_eq!(n1.role_name(), "node.prod.quoit.internal");
    let client = identity(Role::Client, "app", "prod");
    assert_eq!(client.role_name(), "client.prod.quoit.internal");
}

#[test]
fn an_identity_is_found_among_other_names() {
    for role in Role::ALL {
        let wanted = identity(role, "x", "local");
        let (name, role_name) = (wanted.dns_name(), wanted.role_name());
        let names = ["cache.example.com", &role_name, &name, "notquoit.internal"];
        assert_eq!(Identity::from_dns_names(names), Ok(wanted));
    }
}

#[test]
fn anything_but_one_identity_and_its_role_name_is_refused() {
    let n1 = identity(Role::Node, "n1", "local");
    let (name, role_name) = (n1.dns_name(), n1.role_name());
    let refused = |names: &[&str]| Identity::from_dns_names(names.iter().copied()).unwrap_err();
    let unexpected = |name: &str| IdentityError::Unexpected(name.to_owned());

    assert_eq!(refused(&["example.com"]), IdentityError::None);
    assert_eq!(refused(&[&name]), IdentityError::RoleNameMissing(n1.clone()));
    assert_eq!(refused(&[&role_name]), unexpected(&role_name));
    let admin = identity(Role::Admin, "n1", "local");
    assert_eq!(refused(&[&name, &role_name, &admin.dns_name()]), IdentityError::Two(Box::new([n1, admin])));
    for other in [
        "*.node.local.quoit.internal",
        "node.other.quoit.internal",
        "client.local.quoit.internal",
        "quoit.internal",
        "N1.node.local.QUOIT.internal",
        "n1.node.local.quoit.internal.",
        "a.b.node.local.quoit.internal",
        "n1.root.local.quoit.internal",
    ] {
        assert_eq!(refused(&[&name, &role_name, other]), unexpected(other));
    }
}

#[test]
fn hosts_are_names_or_addresses() {
    for (text, shown) in [
        ("Cache-1.Example.com", "cache-1.example.com"),
        ("localhost", "localhost"),
        ("10.0.0.1", "10.0.0.1"),
        ("::1", "::1"),
    ] {
        assert_eq!(text.parse::<Host>().unwrap().to_string(), shown);
    }
    for bad in ["", "a b", "host:7750", "[::1]", "10.0.0", "*.example.com", "example.com."] {
        assert_eq!(bad.parse::<Host>(), Err(HostError::Invalid), "{bad}");
    }
    assert_eq!("n1.node.local.Quoit.Internal".parse::<Host>(), Err(HostError::Identity));
}
