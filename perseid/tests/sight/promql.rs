//! Reads PromQL far enough to know which metrics and labels an expression uses.

use std::collections::BTreeSet;

/// A metric of an expression, with what is asked of its labels.
#[derive(Clone, Debug, PartialEq, Eq)]
pub(crate) struct Selector {
    pub(crate) metric: String,
    /// Label, and the values that it is compared with: one, or the alternatives of a regular expression.
    pub(crate) matchers: Vec<(String, Vec<String>)>,
}

#[derive(Clone, Debug, Default, PartialEq, Eq)]
pub(crate) struct Used {
    pub(crate) selectors: Vec<Selector>,
    /// Labels of `by`, `on` and the like.
    pub(crate) grouped: BTreeSet<String>,
}

#[derive(Clone, Debug, PartialEq, Eq)]
enum Token {
    Word(String),
    Text(String),
    Sign(char),
}

const FUNCTIONS: [&str; 22] = [
    "sum",
    "avg",
    "min",
    "max",
    "count",
    "topk",
    "rate",
    "irate",
    "increase",
    "delta",
    "deriv",
    "changes",
    "resets",
    "histogram_quantile",
    "min_over_time",
    "max_over_time",
    "avg_over_time",
    "clamp_min",
    "clamp_max",
    "time",
    "abs",
    "absent",
];
const OPERATORS: [&str; 5] = ["and", "or", "unless", "offset", "bool"];
const GROUPINGS: [&str; 6] = ["by", "without", "on", "ignoring", "group_left", "group_right"];

/// What an expression uses; panics with what it does not understand.
pub(crate) fn used(expression: &str) -> Used {
    let tokens = tokens(expression);
    let mut used = Used::default();
    let mut at = 0;
    let mut depth = 0_i32;
    while let Some(token) = tokens.get(at) {
        at += 1;
        match token {
            Token::Sign('(') => depth += 1,
            Token::Sign(')') => depth -= 1,
            Token::Sign('[') => at = after(&tokens, at, ']'),
            Token::Word(word) if GROUPINGS.contains(&word.as_str()) => {
                assert_eq!(tokens.get(at), Some(&Token::Sign('(')), "{word} without labels in {expression}");
                let end = after(&tokens, at + 1, ')');
                let labels = tokens[at + 1..end - 1].iter();
                used.grouped.extend(labels.filter_map(|label| match label {
                    Token::Word(label) => Some(label.clone()),
                    _ => None,
                }));
                at = end;
            }
            Token::Word(word) if tokens.get(at) == Some(&Token::Sign('(')) => {
                assert!(
                    FUNCTIONS.contains(&word.as_str()) || OPERATORS.contains(&word.as_str()),
                    "no function {word}: {expression}"
                );
            }
            Token::Word(word) if OPERATORS.contains(&word.as_str()) || is_number(word) => {}
            Token::Word(word) if FUNCTIONS.contains(&word.as_str()) => {
                let Some(Token::Word(next)) = tokens.get(at) else { panic!("{word} of nothing: {expression}") };
                assert!(GROUPINGS.contains(&next.as_str()), "{word} {next}: {expression}");
            }
            Token::Word(word) => {
                let mut matchers = Vec::new();
                if tokens.get(at) == Some(&Token::Sign('{')) {
                    let end = after(&tokens, at + 1, '}');
                    matchers = labels(&tokens[at + 1..end - 1], expression);
                    at = end;
                }
                used.selectors.push(Selector { metric: word.clone(), matchers });
            }
            Token::Text(_) => panic!("a text outside of labels: {expression}"),
            Token::Sign(_) => {}
        }
    }
    assert_eq!(depth, 0, "brackets of {expression}");
    used
}

/// The place after the next `sign`.
fn after(tokens: &[Token], from: usize, sign: char) -> usize {
    let found = tokens[from..].iter().position(|token| *token == Token::Sign(sign));
    from + found.unwrap_or_else(|| panic!("no {sign} after {:?}", &tokens[..from])) + 1
}

fn labels(tokens: &[Token], expression: &str) -> Vec<(String, Vec<String>)> {
    let matchers = tokens.split(|token| *token == Token::Sign(',')).filter(|matcher| !matcher.is_empty());
    matchers
        .map(|matcher| match matcher {
            [Token::Word(label), Token::Sign(_), rest @ .., Token::Text(value)] if rest.len() <= 1 => {
                let regex = rest.contains(&Token::Sign('~'));
                let values = if regex { value.split('|').map(str::to_owned).collect() } else { vec![value.clone()] };
                (label.clone(), values)
            }
            other => panic!("{other:?} in {expression}"),
        })
        .collect()
}

fn is_number(word: &str) -> bool {
    word.starts_with(|first: char| first.is_ascii_digit())
}

fn tokens(expression: &str) -> Vec<Token> {
    let mut tokens = Vec::new();
    let mut rest = expression.chars().peekable();
    while let Some(next) = rest.next() {
        if next == '"' {
            tokens.push(Token::Text(rest.by_ref().take_while(|c| *c != '"').collect()));
        } else if is_of_word(next) {
            let mut word = next.to_string();
            while let Some(more) = rest.next_if(|c| is_of_word(*c)) {
                word.push(more);
            }
            tokens.push(Token::Word(word));
        } else if !next.is_whitespace() {
            tokens.push(Token::Sign(next));
        }
    }
    tokens
}

fn is_of_word(c: char) -> bool {
    c.is_ascii_alphanumeric() || matches!(c, '_' | ':' | '.' | '$')
}

#[test]
fn expressions_are_understood() {
    let selector = |metric: &str, matchers: &[(&str, &[&str])]| Selector {
        metric: metric.to_owned(),
        matchers: matchers
            .iter()
            .map(|(label, values)| ((*label).to_owned(), values.iter().map(|value| (*value).to_owned()).collect()))
            .collect(),
    };
    let used = used(
        r#"histogram_quantile(0.99, sum by (instance, le) (rate(a_bucket{x="1", y=~"p|q"}[$__rate_interval]))) / clamp_min(b, 1)
           and on (instance) (c offset 5m) > 0.8 * 1e3"#,
    );
    let expected = [selector("a_bucket", &[("x", &["1"]), ("y", &["p", "q"])]), selector("b", &[]), selector("c", &[])];
    assert_eq!(used.selectors, expected);
    assert_eq!(used.grouped.iter().collect::<Vec<_>>(), ["instance", "le"]);
    for wrong in ["rate(a[1m]", "rat(a[1m])", "sum by instance (a)", r#"a{x"1"}"#, r#"a{x="1""#] {
        assert!(std::panic::catch_unwind(|| self::used(wrong)).is_err(), "{wrong}");
    }
}
