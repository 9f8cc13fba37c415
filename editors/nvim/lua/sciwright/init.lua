--- Neovim's side of sciwright: commands, progress and messages. The work is done by the language server.
local M = {}

local NAME = 'sciwright'
local KIND = 'refactor.rewrite.sciwright'
local GENERATE = 'sciwright.generate'
local CANCEL = 'sciwright.cancel'
local START_TIMEOUT_MS = 5000

---@class sciwright.Options : vim.lsp.Config
---@field progress? boolean Show the progress in the command line (default: true).

---@class sciwright.Progress
---@field text string
---@field updated integer Nanoseconds, for picking the latest.

local echo_progress = true
local running = {} ---@type table<integer, table<lsp.ProgressToken, sciwright.Progress>> by client

---@param message string
---@param level? integer
local function notify(message, level)
  vim.notify('sciwright: ' .. message, level or vim.log.levels.INFO)
end

--- Change the language server's configuration; not needed where the defaults are good.
---
--- Everything but `progress` is what `vim.lsp.config()` takes. New settings reach a running server at once.
---@param opts? sciwright.Options
function M.setup(opts)
  vim.validate('opts', opts, 'table', true)
  local config = vim.deepcopy(opts or {})
  if config.progress ~= nil then
    echo_progress = config.progress
    config.progress = nil
  end
  vim.lsp.config(NAME, config)
  if config.settings then
    for _, client in ipairs(vim.lsp.get_clients({ name = NAME })) do
      client.settings = vim.tbl_deep_extend('force', client.settings or {}, config.settings)
      client:notify('workspace/didChangeConfiguration', { settings = client.settings })
    end
  end
end

--- Return the name of the server's executable if it cannot be found.
---@return string?
function M.missing_executable()
  local cmd = vim.lsp.config[NAME].cmd
  if type(cmd) == 'table' and vim.fn.executable(cmd[1]) == 0 then
    return cmd[1]
  end
end

---@param executable string
---@return string
local function missing_message(executable)
  return ("sciwright: no executable '%s' found, see :help sciwright-install"):format(executable)
end

--- Say once that the server's executable is missing, where it would have been started.
---@param filetype string
function M.check_executable(filetype)
  if vim.list_contains(vim.lsp.config[NAME].filetypes or { filetype }, filetype) then
    local executable = M.missing_executable()
    if executable then
      vim.schedule(function()
        vim.notify_once(missing_message(executable), vim.log.levels.WARN)
      end)
    end
  end
end

--- Return the server of the buffer; one that is being started is waited for.
---@param bufnr integer
---@return vim.lsp.Client?
local function attached_client(bufnr)
  local function find()
    return vim.lsp.get_clients({ bufnr = bufnr, name = NAME })[1]
  end
  if find() then
    return find()
  end
  local filetype = vim.bo[bufnr].filetype
  local config = vim.lsp.config[NAME]
  local executable = M.missing_executable()
  if executable then
    vim.notify(missing_message(executable), vim.log.levels.WARN)
  elseif not vim.list_contains(config.filetypes or { filetype }, filetype) then
    notify(("this is not a Python buffer (its filetype is '%s')"):format(filetype), vim.log.levels.WARN)
  elseif not vim.wait(START_TIMEOUT_MS, find, 20) then
    notify('no server is running here, see :checkhealth sciwright', vim.log.levels.WARN)
  end
  return find()
end

--- Generate code for the task comment at the cursor.
function M.generate()
  local bufnr = vim.api.nvim_get_current_buf()
  local client = attached_client(bufnr)
  if not client then
    return
  end
  if vim.api.nvim_buf_get_name(bufnr) == '' then
    return notify('write this buffer to a file and reopen it with :edit', vim.log.levels.WARN)
  end
  local params = vim.lsp.util.make_range_params(0, client.offset_encoding) --[[@as lsp.CodeActionParams]]
  params.context =
    { diagnostics = {}, only = { KIND }, triggerKind = vim.lsp.protocol.CodeActionTriggerKind.Invoked }
  client:request('textDocument/codeAction', params, function(err, actions)
    if err then
      return notify(err.message, vim.log.levels.ERROR)
    end
    for _, action in ipairs(actions or {}) do
      if type(action.command) == 'table' and action.command.command == GENERATE then
        return client:exec_cmd(action.command, { bufnr = bufnr })
      end
    end
    notify('there is no task comment at the cursor (`# Task: ...`)', vim.log.levels.WARN)
  end, bufnr)
end

--- Cancel the generations in the current buffer, or everywhere.
---@param everywhere? boolean
function M.cancel(everywhere)
  local bufnr = vim.api.nvim_get_current_buf()
  local filter = { name = NAME, bufnr = not everywhere and bufnr or nil }
  for _, client in ipairs(vim.lsp.get_clients(filter)) do
    local arguments = everywhere and {} or { vim.uri_from_bufnr(bufnr) }
    client:exec_cmd({ title = 'Cancel', command = CANCEL, arguments = arguments }, { bufnr = bufnr })
  end
end

--- Return what is being done, or an empty string; for 'statusline' with `%{%...%}`.
---@return string
function M.statusline()
  local count, latest = 0, nil ---@type integer, sciwright.Progress?
  for _, works in pairs(running) do
    for _, work in pairs(works) do
      count = count + 1
      if not latest or work.updated > latest.updated then
        latest = work
      end
    end
  end
  if not latest then
    return ''
  end
  local text = count > 1 and ('%s (%d under way)'):format(latest.text, count) or latest.text
  return (text:gsub('%%', '%%%%'))
end

--- Show `text` in the command line, in one line: more would ask the user to press Enter.
---@param text string
local function echo(text)
  local mode = vim.api.nvim_get_mode().mode
  -- A prompt or a typed command stays as it is; with 'cmdheight' 0 there is no room at all.
  if not echo_progress or vim.o.cmdheight == 0 or mode:find('^[cr]') then
    return
  end
  text = text:gsub('%c', ' ')
  if vim.fn.strdisplaywidth(text) > vim.v.echospace then
    text = vim.fn.strcharpart(text, 0, vim.v.echospace - 1) .. '…'
  end
  vim.cmd.redraw() -- Two messages without one between them ask for Enter, too.
  vim.api.nvim_echo({ { text } }, false, {})
end

--- Handle the event LspProgress.
---@param client_id integer
---@param params lsp.ProgressParams
function M.on_progress(client_id, params)
  local client = vim.lsp.get_client_by_id(client_id)
  local value = params.value
  if not client or client.name ~= NAME or type(value) ~= 'table' or not value.kind then
    return
  end
  local text = value.title or 'working'
  if value.message then
    text = text .. ': ' .. value.message
  end
  if value.percentage then
    text = ('%s (%d%%)'):format(text, value.percentage)
  end
  running[client_id] = running[client_id] or {}
  running[client_id][params.token] = value.kind ~= 'end' and { text = text, updated = vim.uv.hrtime() } or nil
  echo('sciwright: ' .. text)
  vim.cmd.redrawstatus()
end

--- Handle the event LspDetach. A server that lives on for other buffers tells its progress again.
---@param client_id integer
function M.on_detach(client_id)
  if running[client_id] then
    running[client_id] = nil
    vim.cmd.redrawstatus()
  end
end

--- Handle `workspace/applyEdit` as Neovim does, with three differences:
--- an edit for an older text is refused aloud, so that the server can place the code again (Neovim drops it
--- and answers that it was applied); below the last line, no empty line is added; and the code is an undo step
--- of its own even while the user types.
---@type lsp.Handler
function M.apply_edit(err, params, ctx)
  for _, change in ipairs(params.edit.documentChanges or {}) do
    local document = change.textDocument -- nil where a file is created, renamed or deleted
    local bufnr = document and vim.uri_to_bufnr(document.uri)
    local version = document and document.version
    if type(version) == 'number' and vim.lsp.util.buf_versions[bufnr] > version then
      return { applied = false, failureReason = 'the buffer has changed meanwhile' }
    end
    for _, edit in ipairs(document and change.edits or {}) do
      if edit.range.start.line >= vim.api.nvim_buf_line_count(bufnr) then
        edit.newText = edit.newText:gsub('\r?\n$', '')
      end
    end
  end
  params.label = nil -- Neovim would print it, above the progress.
  vim.go.undolevels = vim.go.undolevels -- :help undo-break
  local answer = vim.lsp.handlers['workspace/applyEdit'](err, params, ctx)
  vim.go.undolevels = vim.go.undolevels
  return answer
end

--- Handle `window/showMessage`: through vim.notify, whatever the level is.
---@type lsp.Handler
function M.show_message(_, params)
  vim.cmd.redraw()
  vim.notify(params.message, math.max(vim.log.levels.ERROR + 1 - params.type, vim.log.levels.TRACE))
end

return M
