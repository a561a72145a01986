# What packaging/nixos/module.nix makes of a configuration, as the tests of `cargo xtask packages` compare it. The module
# system is that of nixpkgs (<nixpkgs/lib>); of the options of NixOS that the module sets, only these are declared, as
# NixOS has them. One that is not among them is an error.
{ configuration }:

let
  lib = import <nixpkgs/lib>;
  inherit (lib) mkOption types;
  list = type: mkOption { type = types.listOf type; default = [ ]; };
  sets = options: mkOption { type = types.attrsOf (types.submodule { inherit options; }); default = { }; };
  target = types.strMatching "[a-zA-Z0-9@%:_.\\-]+[.](service|socket|target)";

  declared.options = {
    environment.systemPackages = list types.package;
    environment.etc = sets { text = mkOption { type = types.lines; }; };
    networking.firewall.allowedTCPPorts = list types.port;
    systemd.packages = list types.unspecified;
    systemd.services = sets {
      wantedBy = list target;
      path = list types.package;
      restartTriggers = list types.unspecified;
    };
    systemd.sockets = sets { wantedBy = list target; };
    systemd.tmpfiles.rules = list types.str;
    users.groups = sets { };
    users.users = sets {
      isSystemUser = mkOption { type = types.bool; default = false; };
      group = mkOption { type = types.str; };
    };
  };

  package = name: { type = "derivation"; inherit name; outPath = "/nix/store/${name}"; };
  evaluated = lib.evalModules {
    specialArgs.pkgs.writeTextDir = path: text: { inherit path text; };
    modules = [
      declared
      ../../../packaging/nixos/module.nix
      { config.services.albatross.package = lib.mkDefault (package "albatross"); }
      { config.services.albatross = configuration { inherit package; }; }
    ];
  };
  config = evaluated.config;
in
{
  inherit (config.systemd) packages sockets;
  inherit (config.users) groups users;
  rules = config.systemd.tmpfiles.rules;
  ports = config.networking.firewall.allowedTCPPorts;
  etc = config.environment.etc;
  programs = map toString config.environment.systemPackages;
  services = lib.mapAttrs (_: it: it // { path = map toString it.path; }) config.systemd.services;
}
