#!/usr/bin/env node
import { serve } from "./xrtcbridge-plugin.mjs";
import { pick } from "./pick.mjs";
import { webhook, websocket } from "./web.mjs";

serve(websocket, webhook, pick);
