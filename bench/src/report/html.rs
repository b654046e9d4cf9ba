//! One page that needs nothing else: tables, and plots as inline SVG.

use super::plot::{self, line};
use super::table::verdict;
use super::{PERCENTILES, Report, RunReport, group, number};
use crate::stats::to_f64;
use anyhow::{Context, Result};
use std::fmt::Write;
use std::path::Path;

const STYLE: &str = "
:root { color-scheme: light dark; --line: #8884; --soft: #888; --good: #2a9d4e; --bad: #d33; }
body { font: 15px/1.5 system-ui, sans-serif; max-width: 76rem; margin: 2rem auto; padding: 0 1rem;
  background: Canvas; color: CanvasText; }
h1 { font-size: 1.5rem; } h2 { font-size: 1.2rem; margin-top: 2.5rem; border-top: 1px solid var(--line);
  padding-top: 1rem; }
code { overflow-wrap: anywhere; } .soft { color: var(--soft); }
table { border-collapse: collapse; margin: .8rem 0; } .wide { overflow-x: auto; }
td, th { padding: .2rem .8rem .2rem 0; text-align: left; border-bottom: 1px solid var(--line); }
td.n, th.n { text-align: right; font-variant-numeric: tabular-nums; }
.good { color: var(--good); } .bad { color: var(--bad); font-weight: 600; }
.plots { display: grid; grid-template-columns: repeat(auto-fit, minmax(28rem, 1fr)); gap: 1rem; }
figure { margin: 0; } figcaption { font-weight: 600; } svg { height: auto; display: block; }
";

pub(super) fn write(report: &Report, path: &Path) -> Result<()> {
    let page = page(report).context("cannot format the report")?;
    std::fs::write(path, page).with_context(|| format!("cannot write {}", path.display()))
}

fn page(report: &Report) -> Result<String, std::fmt::Error> {
    let mut page = String::new();
    let machine = &report.environment;
    write!(
        page,
        "<!doctype html><html lang=\"en\"><head><meta charset=\"utf-8\">\
         <meta name=\"viewport\" content=\"width=device-width, initial-scale=1\">\
         <title>perseid bench</title><style>{STYLE}</style></head><body>\
         <h1>perseid bench {}</h1><p><code>{}</code></p>\
         <p class=\"soft\">{} · {} cores, {} · Linux {} · version {} · {}</p>",
        if report.ok { "" } else { "<span class=\"bad\">FAILED</span>" },
        escape(&report.command),
        escape(&report.started),
        machine.cores,
        escape(&machine.cpu),
        escape(&machine.kernel),
        report.version,
        machine.note,
    )?;
    if report.runs.iter().any(|run| !run.budgets.is_empty()) {
        budgets(&mut page, &report.runs)?;
    }
    for one in &report.runs {
        run(&mut page, one)?;
    }
    page.push_str("</body></html>\n");
    Ok(page)
}

fn budgets(page: &mut String, runs: &[RunReport]) -> std::fmt::Result {
    page.push_str(
        "<h2>Budgets</h2><div class=\"wide\"><table><tr><th>row<th>figure<th class=\"n\">measured\
         <th class=\"n\">budget<th>",
    );
    for run in runs {
        for budget in &run.budgets {
            let class = if budget.met { "good" } else { "bad" };
            let class = if budget.value.is_none() { "soft" } else { class };
            write!(
                page,
                "<tr><td>{}<td>{}<td class=\"n\">{}<td class=\"n\">{} {} {}<td class=\"{class}\">{}",
                escape(&run.title),
                budget.what,
                budget.value.map_or_else(|| "–".to_owned(), number),
                if budget.at_most { "≤" } else { "≥" },
                number(budget.limit),
                budget.unit,
                verdict(budget),
            )?;
        }
    }
    page.push_str("</table></div>");
    Ok(())
}

fn run(page: &mut String, run: &RunReport) -> std::fmt::Result {
    let parameters: Vec<String> = run.parameters.iter().map(|(name, value)| format!("{name} {value}")).collect();
    write!(page, "<h2>{}</h2><p class=\"soft\">{}</p>", escape(&run.title), escape(&parameters.join(" · ")))?;
    for problem in &run.problems {
        write!(page, "<p class=\"bad\">{}</p>", escape(problem))?;
    }
    page.push_str("<div class=\"wide\"><table>");
    for figure in &run.figures {
        let spread = figure
            .spread
            .map_or_else(String::new, |spread| format!("{} – {} of {}", number(spread.min), number(spread.max), spread.count));
        write!(
            page,
            "<tr><td>{}<td class=\"n\">{}<td>{}<td class=\"soft\">{spread}",
            escape(&figure.what),
            number(figure.value),
            figure.unit
        )?;
    }
    page.push_str("</table></div>");
    curves(page, run)?;
    if let Some(integrity) = &run.integrity {
        let tally = &integrity.tally;
        write!(
            page,
            "<p>{} of {} deliveries; {} lost, {} duplicated, {} out of order.</p>",
            group(to_f64(tally.received)),
            group(to_f64(integrity.expected)),
            tally.lost,
            tally.duplicates,
            tally.disordered
        )?;
    }
    plots(page, run)?;
    for note in &run.notes {
        write!(page, "<p class=\"soft\">{}</p>", escape(note))?;
    }
    Ok(())
}

fn curves(page: &mut String, run: &RunReport) -> std::fmt::Result {
    if run.curves.is_empty() {
        return Ok(());
    }
    page.push_str("<div class=\"wide\"><table><tr><th>latency, ms");
    for (name, _) in PERCENTILES {
        write!(page, "<th class=\"n\">{name}")?;
    }
    for curve in &run.curves {
        write!(page, "<tr><td>{}", escape(curve.name))?;
        for (_, quantile) in PERCENTILES {
            let point = curve.points.iter().find(|(q, _)| *q >= quantile);
            let text = point.map_or_else(String::new, |(_, ms)| number(*ms));
            write!(page, "<td class=\"n\">{text}")?;
        }
    }
    page.push_str("</table></div>");
    Ok(())
}

fn plots(page: &mut String, run: &RunReport) -> std::fmt::Result {
    let points = &run.timeline;
    let mib = 1024.0 * 1024.0;
    let cores = [line("server", points, |point| point.server_cores), line("generator", points, |point| point.generator_cores)];
    let deliveries = [line("deliveries", points, |point| point.deliveries_per_s)];
    let online = [line("online", points, |point| to_f64(point.online))];
    let rss = [line("server", points, |point| to_f64(point.server_rss_bytes) / mib)];
    let all = [
        ("Latency by percentile", plot::percentiles(&run.curves)),
        ("Deliveries a second", plot::over_time("deliveries/s", &deliveries)),
        ("Sessions online", plot::over_time("sessions", &online)),
        ("CPU", plot::over_time("cores busy", &cores)),
        ("Memory of the server", plot::over_time("RSS, MiB", &rss)),
    ];
    page.push_str("<div class=\"plots\">");
    for (title, svg) in all {
        if let Some(svg) = svg {
            write!(page, "<figure><figcaption>{title}</figcaption>{svg}</figure>")?;
        }
    }
    page.push_str("</div>");
    Ok(())
}

fn escape(text: &str) -> String {
    text.replace('&', "&amp;").replace('<', "&lt;").replace('>', "&gt;").replace('"', "&quot;")
}

#[cfg(test)]
mod tests {
    use super::*;

    #[test]
    fn a_page_holds_its_figures_and_escapes_text() {
        let mut run = RunReport::new("room", "room of <b>5</b>".to_owned());
        run.figure("x_us", "a figure", 1.5, "µs");
        run.problems.push("3 deliveries lost".to_owned());
        let report = Report::new("bench & more".to_owned(), String::new(), vec![run]);
        let page = page(&report).unwrap();
        for text in ["room of &lt;b&gt;", "bench &amp; more", "1.50", "3 deliveries lost", "FAILED"] {
            assert!(page.contains(text), "{text}");
        }
        assert!(!page.contains("http"));
    }
}
