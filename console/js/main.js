// Wires the page together.

import { Api } from './api.js';
import { Header } from './header.js';
import { Router } from './router.js';
import { startSettings } from './settings.js';
import { Store } from './store.js';
import { Token, tabStorage } from './token.js';
import { ClientView } from './views/client.js';
import { GroupsView } from './views/groups.js';
import { NodesView } from './views/nodes.js';
import { Overview } from './views/overview.js';
import { PushView } from './views/push.js';
import { RoomsView } from './views/rooms.js';
import { UsersView } from './views/users.js';
import { announce } from './widgets/notice.js';
import { tokenDialog } from './widgets/token-dialog.js';

const token = new Token(tabStorage());
const askToken = tokenDialog(token, announce);
const api = new Api({ token, askToken: (problem) => askToken(problem) });
const store = new Store(api);

const views = {
  overview: new Overview({ store }),
  nodes: new NodesView({ api, store }),
  rooms: new RoomsView({ api }),
  users: new UsersView({ api }),
  groups: new GroupsView({ api }),
  push: new PushView({ api, store, token }),
  client: new ClientView(),
};

startSettings();
new Header({ store, token, askToken: () => askToken() });
new Router(views);
store.subscribe(({ stats }) => views.client.offerAddress(stats?.listen?.ws));
token.onChange(() => {
  store.retry();
  for (const view of Object.values(views)) view.refresh?.();
});
store.start();
document.body.classList.add('started');
