// Seeded simulation, and deliberate mistakes in the core that it must find. SEED=n repeats one run, RUNS=n makes more.

import assert from 'node:assert/strict';
import { cpSync, mkdtempSync, readFileSync, rmSync, writeFileSync } from 'node:fs';
import { tmpdir } from 'node:os';
import { join } from 'node:path';
import { test } from 'node:test';
import { fileURLToPath, pathToFileURL } from 'node:url';

import { Core } from '../src/core/core.js';
import { Simulation } from './support/simulation.mjs';

const FOR_MS = 60_000;
const runs = Number(process.env.RUNS ?? 25);
const first = Number(process.env.SEED ?? 1);

test(`nothing lost, nothing doubled, in order: seeds ${first} to ${first + runs - 1}`, () => {
  let seen = 0;
  for (let seed = first; seed < first + runs; seed += 1) {
    const simulation = new Simulation(Core, seed);
    assert.deepEqual(simulation.play(FOR_MS), [], `SEED=${seed}`);
    seen += simulation.world.user(1n).log.length;
  }
  assert.ok(seen > runs * 10, `the simulation says something: ${seen}`);
});

/** File of the core, text, the mistake in its place. */
const MUTATIONS = [
  ['a jump is applied', 'core/inbox.js', 'if (frame.pos === this.#applied + 1n) {', 'if (frame.pos > this.#applied) {'],
  ['what was there is applied again', 'core/inbox.js', '} else if (frame.pos > this.#applied) {', '} else if (frame.pos <= this.#applied) { this.#ports.deliver(frame); } else {'],
  ['heartbeats say nothing', 'core/core.js', "case 'heartbeat':\n        return this.#inbox.hint(frame.pos);", "case 'heartbeat':\n        return;"],
  ['sent again before SYNC', 'core/core.js', '    this.#room.begin();', '    this.#room.begin();\n    this.#outbox.live(this.#now);'],
  ['what came back goes out again', 'core/core.js', 'if (own) this.#outbox', 'if (false) this.#outbox'],
  ['another cid for another try', 'core/core.js', "this.#ask({ do: 'sent', cid }, { op: OP.SEND_MSG, kind, conv, cid,", "this.#ask({ do: 'sent', cid }, { op: OP.SEND_MSG, kind, conv, cid: cid ^ BigInt(this.#now),"],
  ['one in flight is overtaken', 'core/outbox.js', 'if (!isNext || this', 'if (this'],
  ['AUTH tells what is not stored', 'core/inbox.js', 'pos: this.#stored };', 'pos: this.#applied };'],
  ['ACK tells what is not stored', 'core/core.js', "    this.#do({ do: 'deliver', message,", "    this.#acks.stored(message.pos);\n    this.#do({ do: 'deliver', message,"],
];

for (const [name, file, text, mistake] of MUTATIONS) {
  test(`found: ${name}`, async () => {
    const folder = mkdtempSync(join(tmpdir(), 'perseid-mutation-'));
    try {
      cpSync(fileURLToPath(new URL('../src', import.meta.url)), folder, { recursive: true });
      writeFileSync(join(folder, 'package.json'), '{"type":"module"}');
      const path = join(folder, file);
      const source = readFileSync(path, 'utf8');
      assert.equal(source.split(text).length, 2, `the place of the mistake is there once: ${text}`);
      writeFileSync(path, source.replace(text, () => mistake));
      const mutated = await import(pathToFileURL(join(folder, 'core/core.js')));
      const finds = (seed) => new Simulation(mutated.Core, seed).play(FOR_MS).length > 0;
      assert.ok(Array.from({ length: 30 }, (_, index) => index + 1).some(finds), 'no seed finds it');
    } finally {
      rmSync(folder, { recursive: true, force: true });
    }
  });
}
