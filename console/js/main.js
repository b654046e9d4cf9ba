// Wires the page together.

import { ClientPanel } from './client-panel.js';
import { Overview } from './overview.js';
import { PushPanel } from './push.js';
import { poll } from './stats.js';
import { fill, t } from './text.js';

fill();
document.title = t('page.title');

const push = new PushPanel();
const overview = new Overview({ onRoom: (room) => push.aimAtRoom(room) });
const client = new ClientPanel();

poll('/console/stats.json', {
  onStats: (stats) => {
    overview.show(stats);
    client.offerAddress(stats.listen?.ws);
  },
  onFailure: (message) => overview.lose(message),
});
document.body.classList.add('started');
