//! Patterns of names, as `KEYS` and `PSUBSCRIBE` have them: `*`, `?`, `[a-z]`, `[^a]`, and `\` before what is meant as it is.

/// Whether all of `text` is as `pattern` says.
///
/// When it fails after a `*`, that one takes a byte more, and it goes on from there; an earlier `*` need not be looked at again,
/// since whatever it could reach the later one reaches too. So the time is at most the product of both lengths, for any pattern.
pub fn matches(pattern: &[u8], text: &[u8]) -> bool {
    let (mut p, mut t) = (0, 0);
    let mut star = None; // the last one: what follows it, and where in the text that was tried
    while t < text.len() {
        match pattern.get(p) {
            Some(b'*') => {
                p += 1;
                star = Some((p, t));
                continue;
            }
            Some(_) => {
                if let (true, length) = one(&pattern[p..], text[t]) {
                    (p, t) = (p + length, t + 1);
                    continue;
                }
            }
            None => {}
        }
        let Some((after, tried)) = star else { return false };
        (p, t) = (after, tried + 1);
        star = Some((p, t));
    }
    pattern[p..].iter().all(|&byte| byte == b'*')
}

/// Whether `byte` is what the pattern begins with, and how long that is in the pattern.
fn one(pattern: &[u8], byte: u8) -> (bool, usize) {
    match pattern {
        [b'?', ..] => (true, 1),
        [b'[', class @ ..] => {
            let (found, length) = is_in_class(class, byte);
            (found, 1 + length)
        }
        [b'\\', meant, ..] => (*meant == byte, 2),
        [meant, ..] => (*meant == byte, 1),
        [] => (false, 0),
    }
}

/// A class that has no end ends with the pattern.
fn is_in_class(class: &[u8], byte: u8) -> (bool, usize) {
    let is_not = class.first() == Some(&b'^');
    let mut at = usize::from(is_not);
    let mut found = false;
    loop {
        let (is, length) = match &class[at..] {
            [b'\\', meant, ..] => (*meant == byte, 2),
            [b']', ..] => return (found != is_not, at + 1),
            [] => return (found != is_not, at),
            [from, b'-', to, ..] => ((*from.min(to)..=*from.max(to)).contains(&byte), 3),
            [meant, ..] => (*meant == byte, 1),
        };
        found |= is;
        at += length;
    }
}

#[cfg(test)]
mod tests {
    use super::matches;

    #[test]
    fn patterns() {
        let table = [
            ("", "", true),
            ("", "a", false),
            ("*", "", true),
            ("a*b*c", "aXbXbXc", true),
            ("a*b*c", "aXbXbX", false),
            ("h[ae]llo", "hallo", true),
            ("h[^ae]llo", "hallo", false),
            ("h[e-a]llo", "hcllo", true),
            ("h\\*", "h*", true),
            ("h\\*", "hx", false),
            ("[a", "a", true),
            ("?", "", false),
        ];
        for (pattern, text, expected) in table {
            assert_eq!(matches(pattern.as_bytes(), text.as_bytes()), expected, "{pattern} {text}");
        }
    }

    /// Tried at every place for every `*`, this would not end.
    #[test]
    fn many_stars_take_no_longer() {
        let pattern = [b"a*".repeat(50), b"b".to_vec()].concat();
        assert!(!matches(&pattern, &[b'a'; 10_000]));
    }
}
