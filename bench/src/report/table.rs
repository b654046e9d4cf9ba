//! The table on standard output.

// The one place of the generator that speaks on standard output.
#![allow(clippy::print_stdout)]

use super::{Budget, Curve, Figure, Integrity, PERCENTILES, Report, RunReport, group, number};
use crate::stats::to_f64;

pub(super) fn print(report: &Report) {
    let machine = &report.environment;
    println!("{}  ({})", report.command, report.started);
    println!("{} cores, {}, Linux {}; {}", machine.cores, machine.cpu, machine.kernel, machine.note);
    for run in &report.runs {
        println!("\n{}", run_text(run));
    }
    if report.runs.len() > 1 {
        println!("{}", budget_table(report));
    }
    println!("{}", if report.ok { "ok" } else { "FAILED" });
}

fn run_text(run: &RunReport) -> String {
    let mut text = format!("{}\n", run.title);
    let parameters: Vec<String> = run.parameters.iter().map(|(name, value)| format!("{name} {value}")).collect();
    text += &format!("  {}\n\n", parameters.join(" · "));
    text += &columns(&run.figures.iter().map(figure_row).collect::<Vec<_>>());
    if !run.curves.is_empty() {
        let mut rows = vec![heading()];
        rows.extend(run.curves.iter().map(curve_row));
        text += "\n";
        text += &columns(&rows);
    }
    if let Some(integrity) = &run.integrity {
        text += &format!("\n  {}\n", integrity_line(integrity));
    }
    if !run.budgets.is_empty() {
        text += "\n";
        text += &columns(&run.budgets.iter().map(budget_row).collect::<Vec<_>>());
    }
    for note in &run.notes {
        text += &format!("  note: {note}\n");
    }
    for problem in &run.problems {
        text += &format!("  PROBLEM: {problem}\n");
    }
    text
}

fn figure_row(figure: &Figure) -> Vec<String> {
    let spread = figure
        .spread
        .map_or_else(String::new, |spread| format!("[{}–{}] of {}", number(spread.min), number(spread.max), spread.count));
    vec![figure.what.clone(), number(figure.value), format!("{} {spread}", figure.unit)]
}

fn heading() -> Vec<String> {
    let names = PERCENTILES.iter().map(|(name, _)| (*name).to_owned());
    ["latency, ms".to_owned()].into_iter().chain(names).chain(["count".to_owned()]).collect()
}

fn curve_row(curve: &Curve) -> Vec<String> {
    let at = |quantile: f64| {
        // A quantile too fine for the number of values is the maximum.
        let point = curve.points.iter().find(|(q, _)| *q >= quantile);
        point.map_or_else(String::new, |(_, ms)| number(*ms))
    };
    let values = PERCENTILES.iter().map(|(_, quantile)| at(*quantile));
    [curve.name.to_owned()].into_iter().chain(values).chain([group(to_f64(curve.count))]).collect()
}

fn integrity_line(integrity: &Integrity) -> String {
    let count = |value: u64| group(to_f64(value));
    let tally = &integrity.tally;
    let foreign = match integrity.foreign {
        0 => String::new(),
        some => format!(", {} foreign", count(some)),
    };
    format!(
        "{} of {} deliveries; {} lost, {} duplicated, {} out of order{foreign}",
        count(tally.received),
        count(integrity.expected),
        count(tally.lost),
        count(tally.duplicates),
        count(tally.disordered),
    )
}

fn budget_row(budget: &Budget) -> Vec<String> {
    let sign = if budget.at_most { "≤" } else { "≥" };
    vec![
        budget.what.to_owned(),
        budget.value.map_or_else(|| "not measured".to_owned(), number),
        format!("{sign} {} {}", number(budget.limit), budget.unit),
        verdict(budget).to_owned(),
    ]
}

pub(super) fn verdict(budget: &Budget) -> &'static str {
    match (budget.value, budget.met) {
        (None, _) => "–",
        (_, true) => "met",
        (_, false) => "MISSED",
    }
}

fn budget_table(report: &Report) -> String {
    let rows = report.runs.iter().flat_map(|run| {
        run.budgets.iter().map(|budget| {
            let mut row = vec![run.title.clone()];
            row.extend(budget_row(budget));
            row
        })
    });
    format!("Budgets\n\n{}", columns(&rows.collect::<Vec<_>>()))
}

/// Rows with their columns aligned: words to the left, numbers to the right.
fn columns(rows: &[Vec<String>]) -> String {
    let count = rows.iter().map(Vec::len).max().unwrap_or(0);
    let width = |n: usize| rows.iter().filter_map(|row| row.get(n)).map(|cell| cell.chars().count()).max().unwrap_or(0);
    let widths: Vec<usize> = (0..count).map(width).collect();
    let mut text = String::new();
    for row in rows {
        let mut line = String::from(" ");
        for (cell, width) in row.iter().zip(&widths) {
            let numeric = cell.starts_with(|c: char| c.is_ascii_digit() || c == '-');
            let padding = " ".repeat(width.saturating_sub(cell.chars().count()));
            line += &if numeric { format!(" {padding}{cell} ") } else { format!(" {cell}{padding} ") };
        }
        text += line.trim_end();
        text += "\n";
    }
    text
}

#[cfg(test)]
mod tests {
    use super::*;

    #[test]
    fn columns_align() {
        let row = |a: &str, b: &str| vec![a.to_owned(), b.to_owned()];
        let text = columns(&[row("µs", "1"), row("longer", "1,000")]);
        assert_eq!(text, "  µs          1\n  longer  1,000\n");
    }
}
