// Values as people read them, in the numbers of the page's language. Pure but for that language.

const MOMENT = { month: 'short', day: 'numeric', hour: '2-digit', minute: '2-digit', second: '2-digit', hour12: false };

let formats = {};

/** Writes numbers as this locale does from now on. */
export function setLocale(locale) {
  const number = (options) => new Intl.NumberFormat(locale, options);
  const unit = (name) => number({ style: 'unit', unit: name, unitDisplay: 'narrow', maximumFractionDigits: 0 });
  formats = {
    whole: number({ maximumFractionDigits: 0 }),
    compact: number({ notation: 'compact', maximumSignificantDigits: 3 }),
    tenth: number({ maximumFractionDigits: 1 }),
    digits: [0, 1, 2].map((digits) => number({ minimumFractionDigits: digits, maximumFractionDigits: digits })),
    units: ['day', 'hour', 'minute', 'second'].map(unit),
    separator: locale.startsWith('zh') ? '' : ' ',
    when: new Intl.DateTimeFormat(locale, MOMENT),
    longAgo: new Intl.DateTimeFormat(locale, { year: 'numeric', ...MOMENT }),
  };
}
setLocale('en-US');

/** A count: all digits below a million, then short. */
export function count(value) {
  if (!Number.isFinite(value)) return '–';
  return Math.abs(value) < 1e6 ? formats.whole.format(value) : formats.compact.format(value);
}

/** A count per second: a decimal below ten. */
export function rate(value) {
  if (value === null || !Number.isFinite(value)) return '–';
  if (value > 0 && value < 0.1) return '<0.1';
  return value < 10 ? formats.tenth.format(value) : count(value);
}

/** A share of one core, in percent. */
export function percent(value) {
  if (value === null || !Number.isFinite(value)) return '–';
  return `${value < 10 ? formats.tenth.format(value) : formats.whole.format(value)} %`;
}

/** Bytes in powers of 1024. */
export function bytes(value) {
  if (value === null || !Number.isFinite(value)) return '–';
  const units = ['B', 'KiB', 'MiB', 'GiB', 'TiB', 'PiB'];
  let index = 0;
  let rest = value;
  while (Math.abs(rest) >= 1024 && index < units.length - 1) {
    rest /= 1024;
    index += 1;
  }
  const digits = index === 0 || Math.abs(rest) >= 100 ? 0 : Math.abs(rest) >= 10 ? 1 : 2;
  return `${formats.digits[digits].format(rest)} ${units[index]}`;
}

/** Bytes per second. */
export function byteRate(value) {
  return value === null || !Number.isFinite(value) ? '–' : `${bytes(value)}/s`;
}

/** Bytes for an axis: `64 MiB`. */
export function byteTick(value) {
  if (value === 0) return '0';
  const power = Math.min(5, Math.floor(Math.log2(value) / 10));
  return `${formats.tenth.format(value / 1024 ** power)} ${['B', 'K', 'M', 'G', 'T', 'P'][power]}`.replace(' B', '');
}

/** A short number for an axis: `1.5K`. */
export function tick(value) {
  return formats.compact.format(value);
}

/** A span in ms by its two largest units: `3d 4h`, `5m 6s`. */
export function duration(ms) {
  const seconds = Math.max(0, Math.floor(ms / 1000));
  const parts = [Math.floor(seconds / 86_400), Math.floor(seconds / 3600) % 24, Math.floor(seconds / 60) % 60, seconds % 60];
  const first = parts.findIndex((value) => value > 0);
  if (first < 0) return formats.units[3].format(0);
  return parts
    .map((value, index) => [value, index])
    .slice(first, first + 2)
    .filter(([value, index]) => index === first || value > 0)
    .map(([value, index]) => formats.units[index].format(value))
    .join(formats.separator);
}

/** A moment with its day, and its year if that is not the year of `nowMs`. */
export function moment(ms, nowMs = Date.now()) {
  const date = new Date(ms);
  if (Number.isNaN(date.getTime())) return '–';
  return (date.getFullYear() === new Date(nowMs).getFullYear() ? formats.when : formats.longAgo).format(date);
}

/** Local time of day, `12:00:01`, with `fraction` also the ms. */
export function clock(ms, fraction = false) {
  const date = new Date(ms);
  const two = (value) => String(value).padStart(2, '0');
  const time = `${two(date.getHours())}:${two(date.getMinutes())}:${two(date.getSeconds())}`;
  return fraction ? `${time}.${String(date.getMilliseconds()).padStart(3, '0')}` : time;
}

/** A time in ms: `0.3 ms`, `12 ms`, `1.5 s`. */
export function milliseconds(value) {
  if (value === null || !Number.isFinite(value)) return '–';
  if (value >= 1000) return `${formats.tenth.format(value / 1000)} s`;
  return `${(value < 10 ? formats.tenth : formats.whole).format(value)} ms`;
}

/** Bytes as lower-case hexadecimal, in pairs. */
export function hex(body, max = Infinity) {
  return Array.from(body.subarray(0, max), (byte) => byte.toString(16).padStart(2, '0')).join(' ');
}

/** A hex view: offset, 16 bytes, the same as ASCII. */
export function hexDump(body) {
  const lines = [];
  for (let offset = 0; offset < body.byteLength; offset += 16) {
    const chunk = body.subarray(offset, offset + 16);
    const left = hex(chunk.subarray(0, 8)).padEnd(23);
    const right = hex(chunk.subarray(8)).padEnd(23);
    const ascii = Array.from(chunk, (byte) => (byte >= 0x20 && byte < 0x7f ? String.fromCharCode(byte) : '·')).join('');
    lines.push(`${offset.toString(16).padStart(4, '0')}  ${left}  ${right}  ${ascii}`);
  }
  return lines.join('\n');
}

/** The body as text if it is text: valid UTF-8 without control characters but tab and line ends; else null. */
export function asText(body) {
  try {
    const text = new TextDecoder('utf-8', { fatal: true, ignoreBOM: true }).decode(body);
    // eslint-disable-next-line no-control-regex
    return /[\u0000-\u0008\u000b\u000c\u000e-\u001f\u007f]/.test(text) ? null : text;
  } catch {
    return null;
  }
}

/** Text as indented JSON if it is an object or a list, else null. Digits stay as they are: nothing is parsed to floats. */
export function asJson(text) {
  if (!/^\s*[[{]/.test(text)) return null;
  try {
    JSON.parse(text);
  } catch {
    return null;
  }
  return indent(text);
}

// JSON.parse would round 64-bit numbers, so the valid text itself is laid out.
function indent(text) {
  const tokens = text.match(/"(?:[^"\\]|\\.)*"|[[\]{},:]|[^\s[\]{},:"]+/g) ?? [];
  let depth = 0;
  let out = '';
  const line = () => `\n${'  '.repeat(depth)}`;
  tokens.forEach((token, index) => {
    const next = tokens[index + 1];
    if (token === '{' || token === '[') {
      const empty = next === '}' || next === ']';
      depth += 1;
      out += empty ? token : token + line();
    } else if (token === '}' || token === ']') {
      depth -= 1;
      const previous = tokens[index - 1];
      out += previous === '{' || previous === '[' ? token : line() + token;
    } else if (token === ',') {
      out += `,${line()}`;
    } else if (token === ':') {
      out += ': ';
    } else {
      out += token;
    }
  });
  return out;
}
