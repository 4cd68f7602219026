// A client that leases one object and does nothing more: for tests of its end.
import { ClientChannel } from '../../src/daemon/client-channel.ts';
import { HELLO } from './sockets.ts';

const { SOCKET = '', ID = '' } = process.env;
const channel = await ClientChannel.connect(SOCKET, { ...HELLO, access: 'read' });
await channel.request('mblock.lease', { ids: [ID] });
process.on('message', () => channel.destroy());
process.send!('leased');
